"""The identity provider `saml-idp` of npm, in a process of its own: nobody here or at pysaml2 wrote how it speaks.

Its host is `localhost` where ours is 127.0.0.1: to a browser that is another site, so cookies behave as in the world.
"""

import html
import re
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self
from uuid import UUID

import httpx
import pytest

from tests.identity_provider import pair

HOME = Path(__file__).resolve().parent / "peers" / "node_modules" / "saml-idp"


class SamlIdp:
    """The provider, which knows one application: ours for the provider of this id, whose row may come later."""

    def __init__(self, provider_id: UUID, base: str) -> None:
        if shutil.which("node") is None or not HOME.is_dir():
            pytest.skip("saml-idp is not here (`make peers`; Debian: apt-get install nodejs npm)")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.url = f"http://localhost:{self.port}"
        self.metadata_url = f"{self.url}/metadata"
        ours = f"{base}/sso/saml/{provider_id}"
        self._options = {
            "port": str(self.port),
            "issuer": f"urn:saml-idp:{provider_id}",
            "acsUrl": f"{ours}/acs/",
            "sloUrl": f"{ours}/logout/post/",
            "audience": f"{ours}/metadata/",
        }

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory(prefix="saml-idp-")
        for option, text in zip(("key", "cert"), pair(), strict=True):
            file = Path(self._folder.name, f"{option}.pem")
            file.write_text(text)
            self._options[option] = str(file)
        said = [word for name, value in self._options.items() for word in (f"--{name}", value)]
        self._process = subprocess.Popen(
            ["node", str(HOME / "bin" / "run.js"), "--configFile", str(HOME / "config.js"), *said],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self._process.stdout
        for line in self._process.stdout:
            if "IdP server ready" in line:
                break
        self._drain = subprocess.Popen(["cat"], stdin=self._process.stdout, stdout=subprocess.DEVNULL)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in (self._process, self._drain):
            process.terminate()
            process.wait()
        assert self._process.stdout
        self._process.stdout.close()
        self._folder.cleanup()

    def choose(self, **options: str) -> None:
        """Change its settings while it runs."""
        assert httpx.post(f"{self.url}/settings", data=options).status_code == 302


def form_in(page: str) -> tuple[str, dict[str, str]]:
    """Where a page's form goes, and what is in it."""
    action = re.search(r'action="([^"]+)"', page)
    assert action, page
    fields = re.findall(r'name="([^"]+)"\s+value="([^"]*)"', page)
    return html.unescape(action[1]), {name: html.unescape(value) for name, value in fields}


def says(browser: httpx.Client, url: str, address: str) -> dict[str, str]:
    """Go to a request, be somebody, and see what is posted to us."""
    page = browser.get(url).text
    request = re.search(r"name=\"_authnRequest\" type='hidden' value='([^']+)'", page)
    wanted = {"userName": address, "email": address, "displayName": "Ada Peer"}
    if request:
        wanted["_authnRequest"] = html.unescape(request[1])
    answer = browser.post(f"{httpx.URL(url).copy_with(path='/signin', query=None)}", data=wanted)
    return form_in(answer.text)[1]
