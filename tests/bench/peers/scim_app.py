"""The peer: scim2-server's own WSGI application over its own storage in memory, without tokens and without people."""

from collections.abc import Iterable
from typing import Any

from scim2_server.applications.wsgi import WSGIApplication
from scim2_server.memory import InMemoryStorage
from scim2_server.utils import load_default_provider

server = WSGIApplication(InMemoryStorage(), load_default_provider())


def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """The server, and an answer for whoever waits until it listens."""
    if environ["PATH_INFO"] == "/health":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"ok"]
    environ.pop("wsgi.input_terminated", None)  # granian's input cannot be read to an end that nobody announced
    return server(environ, start_response)
