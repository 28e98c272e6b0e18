"""An OpenID provider that nobody here wrote: the certified `oidc-provider` of npm, in a process of its own.

Its host is `localhost` where ours is 127.0.0.1: to a browser that is another site, so cookies behave as in the world.
"""

import json
import re
import shutil
import socket
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import UUID, uuid4

import httpx
import pytest

PEERS = Path(__file__).resolve().parent / "peers"
SECRET = "a secret: with % and +, of forty characters or so"


@dataclass(frozen=True)
class PeerClient:
    """An application that is registered there for a provider of ours, whose id is known before its row."""

    base: str  # our address
    method: str = "client_secret_basic"
    algorithm: str = "RS256"
    provider_id: UUID = field(default_factory=uuid4)

    @property
    def secret(self) -> str:
        """'' of a public client."""
        return "" if self.method == "none" else SECRET

    def registered(self) -> dict[str, Any]:
        """As the provider knows it."""
        ours = f"{self.base}/sso/oidc/{self.provider_id}"
        said = {
            "client_id": f"client:{self.provider_id}",
            "redirect_uris": [f"{ours}/callback/"],
            "backchannel_logout_uri": f"{ours}/backchannel-logout/",
            "backchannel_logout_session_required": True,
            "token_endpoint_auth_method": self.method,
            "id_token_signed_response_alg": self.algorithm,
            "require_auth_time": True,
        }
        return said | ({"client_secret": self.secret} if self.secret else {})


class OpenIdPeer:
    """The provider, while the context is open; `people` have an address, and claims beside it."""

    def __init__(self, clients: list[PeerClient], people: dict[str, dict[str, Any]]) -> None:
        if shutil.which("node") is None or not (PEERS / "node_modules" / "oidc-provider").is_dir():
            pytest.skip("oidc-provider is not here (`make peers`; Debian: apt-get install nodejs npm)")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.issuer = f"http://localhost:{self.port}"
        self._config = {
            "port": self.port,
            "clients": [client.registered() for client in clients],
            "people": people,
        }

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            ["node", "openid_provider.mjs"],
            cwd=PEERS,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # what it thinks of its own sign-in pages
            text=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(self._config) + "\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "listening\n"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.communicate()

    def log_in(self, browser: httpx.Client, url: str, address: str) -> str:
        """Go to an authorization request, say who one is where that is asked, and see where it leads back to."""
        answer = browser.get(url)
        while answer.has_redirect_location and answer.headers["Location"].startswith(("/", self.issuer)):
            answer = browser.get(answer.headers["Location"])
        if not answer.has_redirect_location:
            found = re.search(r'action="([^"]+)"', answer.text)
            assert found, answer.text
            form = {"prompt": "login", "login": address, "password": "any"}
            answer = browser.post(found[1], data=form)
            while answer.headers["Location"].startswith(("/", self.issuer)):
                answer = browser.get(answer.headers["Location"])
        return str(answer.headers["Location"])
