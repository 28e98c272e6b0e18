"""A SAML 2.0 identity provider that nobody here wrote: pysaml2's own, behind HTTP, with a login form of its own.

It is told our metadata's address, as real ones are, reads it over HTTP, and checks the signature of our requests.
Its host is `localhost` where ours is 127.0.0.1: to a browser that is another site, so cookies behave as in the world.
"""

import html
import tempfile
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from tests.identity_provider import RSA_SHA256, SHA256, SamlProvider

REDIRECT = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect"
POST = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST"
PASSWORD = "peer-password"
CLASS = "urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport"
PERSISTENT = "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent"
URI_NAMES = "urn:oasis:names:tc:SAML:2.0:attrname-format:uri"
TRIPLE = "des-192"  # what pysaml2 encrypts with, as xmlsec1 calls it
AES_256 = "http://www.w3.org/2001/04/xmlenc#aes256-cbc"
PAGE = '<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>Peer IdP</title><h1>Peer IdP</h1>{}</html>'
FORM = (
    '<form method="post"><input type="hidden" name="query" value="{}">'
    '<label>Address <input name="address" autofocus></label> '
    '<label>Password <input name="password" type="password"></label> <button>Log in</button></form>'
)


@dataclass(frozen=True)
class Request:
    """A request of ours that its signature proves, and where its answer goes."""

    request_id: str
    acs_url: str
    entity_id: str
    is_forced: bool


class PeerProvider:
    """The identity provider; `people` have an address and a name, and one password for all of them.

    `encryption` is '' for none, 'aes-256', or TRIPLE, the only one that pysaml2 knows by itself.
    """

    def __init__(self) -> None:
        own = SamlProvider()  # its key, and where xmlsec1 is
        self.people: dict[str, str] = {}
        self.encryption = ""
        self.requests: list[Request] = []
        self._folder = tempfile.TemporaryDirectory(prefix="peer-idp-")
        files = {name: Path(self._folder.name, name) for name in ("key_file", "cert_file")}
        files["key_file"].write_text(own.key)
        files["cert_file"].write_text(own.certificate)
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"peer": self}))
        self.url = f"http://localhost:{self._http.server_port}"
        self._config = {
            "entityid": f"{self.url}/metadata",
            "xmlsec_binary": own.program,
            **{name: str(file) for name, file in files.items()},
            "service": {
                "idp": {
                    "name": "Peer IdP",
                    "endpoints": {"single_sign_on_service": [(f"{self.url}/login", REDIRECT)]},
                    "name_id_format": [PERSISTENT],
                    "policy": {"default": {"nameid_format": PERSISTENT, "name_form": URI_NAMES}},
                    "want_authn_requests_signed": True,
                    "signing_algorithm": RSA_SHA256,  # of itself it takes SHA-1, which we refuse
                    "digest_algorithm": SHA256,
                }
            },
        }
        self.metadata = self._describe()
        self._server: Any = None

    def __enter__(self) -> Self:
        threading.Thread(target=self._http.serve_forever, name="peer-idp", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._folder.cleanup()

    def trust(self, metadata_url: str) -> None:
        """Become somebody's identity provider: what they are called, where answers go and their keys are read there."""
        self._server = self._made({"remote": [{"url": metadata_url}]})

    def read(self, query: str) -> Request:
        """An AuthnRequest as the browser brings it; pysaml2 raises where its signature is not good."""
        fields = {name: values[0] for name, values in parse_qs(query).items()}
        read = self._server.parse_authn_request(
            fields["SAMLRequest"],
            REDIRECT,
            relay_state=fields.get("RelayState"),
            sigalg=fields["SigAlg"],
            signature=fields["Signature"],
        )
        told = self._server.response_args(read.message)
        return Request(
            told["in_response_to"],
            told["destination"],
            told["sp_entity_id"],
            read.message.force_authn in {"true", "1"},
        )

    def answer(self, request: Request, address: str) -> str:
        """pysaml2's page that posts the answer by itself, without waiting for anybody."""
        server = self._server
        response = server.create_authn_response(
            {"mail": [address], "displayName": [self.people[address]]},
            request.request_id,
            request.acs_url,
            request.entity_id,
            userid=address,
            release_policy=server.config.getattr("policy", "idp"),
            authn={"class_ref": CLASS, "authn_auth": self.url},
            sign_assertion=True,
            sign_response=True,
            encrypt_assertion=bool(self.encryption),
        )
        made: str = server.apply_binding(POST, str(response), request.acs_url, "", response=True)["data"]
        return made

    def _describe(self) -> str:
        from saml2.metadata import entity_descriptor  # noqa: PLC0415  # 2 s and 52 MiB

        return str(entity_descriptor(self._made({}).config))

    def _made(self, metadata: dict[str, Any]) -> Any:
        from saml2.config import IdPConfig  # noqa: PLC0415  # 2 s and 52 MiB
        from saml2.server import Server  # noqa: PLC0415  # 2 s and 52 MiB
        from saml2.sigver import pre_encryption_part  # noqa: PLC0415  # 2 s and 52 MiB

        config = IdPConfig()
        config.load({**self._config, "metadata": metadata})
        server = Server(config=config)
        stock = server.sec.encrypt_assertion

        def encrypt(statement: Any, key: str, template: Any, key_type: str = TRIPLE, node_xpath: Any = None) -> Any:
            if self.encryption != TRIPLE:
                template, key_type = pre_encryption_part(msg_enc=AES_256), self.encryption
            return stock(statement, key, template, key_type, node_xpath)

        server.sec.encrypt_assertion = encrypt
        return server


class _Handler(BaseHTTPRequestHandler):
    """Its login page."""

    peer: PeerProvider

    def do_GET(self) -> None:
        """Who asks must be known; then ask for an address and a password."""
        parts = urlsplit(self.path)
        if parts.path != "/login":
            self._write(204, "")  # browsers ask for an icon
            return
        self.peer.requests.append(self.peer.read(parts.query))
        self._say(200, FORM.format(html.escape(parts.query)))

    def do_POST(self) -> None:
        """Answer about whoever has logged in."""
        fields = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        address = fields["address"][0]
        if address not in self.peer.people or fields["password"] != [PASSWORD]:
            self._say(403, "<p>Wrong address or password.</p>")
            return
        self._write(200, self.peer.answer(self.peer.read(fields["query"][0]), address))

    def log_message(self, *args: object) -> None:
        """Say nothing."""

    def _say(self, status: int, what: str) -> None:
        self._write(status, PAGE.format(what))

    def _write(self, status: int, page: str) -> None:
        body = page.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
