"""Owns the way out for libraries that connect by themselves: a proxy in this process that checks as `lib.http` does.

Such a library is told to go through it for everything. It never looks a name up, and each connection that it asks for,
its redirects' and token servers' too, leads to an address that was checked or nowhere.
"""

import base64
import binascii
import contextlib
import hmac
import secrets
import selectors
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import cast

from capsule_cloud.lib import http

CONNECT_SECONDS = 10.0
SILENCE_SECONDS = 60.0  # a connection without a byte in either direction is given up
LONGEST_HEAD = 16_384
CHUNK = 262_144


@dataclass(eq=False, slots=True)
class Passage:
    """One user's way through the proxy: its address with a password, and why it was last refused."""

    url: str
    refused: http.HttpError | None = None
    _wires: list[socket.socket] = field(default_factory=list)


class Proxy:
    """Listens on this machine alone, for who knows the password of an open passage. Safe from any thread."""

    def __init__(self, door: http.Door) -> None:
        self._door = door
        self._passages: dict[str, Passage] = {}
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, name="passage", daemon=True).start()

    @contextlib.contextmanager
    def passage(self) -> Iterator[Passage]:
        """Let somebody through while the context is open; then its connections are closed."""
        word = secrets.token_hex(32)
        mine = Passage(f"http://passage:{word}@127.0.0.1:{self._port}")
        self._passages[word] = mine
        try:
            yield mine
        finally:
            del self._passages[word]
            for wire in list(mine._wires):
                _hang_up(wire)

    def close(self) -> None:
        """Let nobody through any more."""
        _hang_up(self._listener)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                wire, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(wire,), name="passage", daemon=True).start()

    def _serve(self, wire: socket.socket) -> None:
        with wire:
            try:
                wire.settimeout(CONNECT_SECONDS)
                head, rest = _read_head(wire)
                passage = self._passage_of(head)
                if passage is None:
                    wire.sendall(_says("407 Proxy Authentication Required"))
                    return
                self._lead_on(wire, head, rest, passage)
            except OSError:
                return  # either side is gone

    def _lead_on(self, wire: socket.socket, head: list[bytes], rest: bytes, passage: Passage) -> None:
        method, _, rest_of_line = head[0].decode("latin-1").partition(" ")
        target, is_tunnel = rest_of_line.rpartition(" ")[0], method == "CONNECT"
        try:
            to = http.place(f"https://{target}/" if is_tunnel else target)
            if not is_tunnel and not to.is_local:
                raise http.Blocked("Nothing is sent in the clear.")
            out = self._door.connect(f"{to.scheme}://{to.authority}/", timeout=CONNECT_SECONDS)
        except http.HttpError as error:
            passage.refused = error
            wire.sendall(_says("403 Forbidden"))
            return
        with out:
            passage._wires += [wire, out]
            if is_tunnel:
                wire.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
            else:
                kept = [line for line in head if not line.lower().startswith(b"proxy-")]
                out.sendall(b"\r\n".join([*kept, b"", b""]) + rest)
            _relay(wire, out)
            passage._wires = [one for one in passage._wires if one is not wire and one is not out]

    def _passage_of(self, head: list[bytes]) -> Passage | None:
        for line in head[1:]:
            name, _, value = line.partition(b":")
            if name.lower() != b"proxy-authorization":
                continue
            with contextlib.suppress(ValueError, binascii.Error):
                given = base64.b64decode(value.strip().removeprefix(b"Basic "), validate=True).partition(b":")[2]
                for word, passage in list(self._passages.items()):
                    if hmac.compare_digest(word.encode(), given):
                        return passage
        return None


def _read_head(wire: socket.socket) -> tuple[list[bytes], bytes]:
    """The request's lines before the empty one, and what came after it. Raises OSError."""
    got, ends_at = b"", time.monotonic() + CONNECT_SECONDS
    while b"\r\n\r\n" not in got:
        chunk = wire.recv(4096)
        got += chunk
        if not chunk or len(got) > LONGEST_HEAD or time.monotonic() > ends_at:
            raise OSError("no head")
    head, _, rest = got.partition(b"\r\n\r\n")
    return head.split(b"\r\n"), rest


def _relay(one: socket.socket, other: socket.socket) -> None:
    """Carry bytes both ways until both sides have ended, or neither says anything for long."""
    ways = {one: other, other: one}
    buffer = memoryview(bytearray(CHUNK))
    with selectors.DefaultSelector() as ready:
        for end in ways:
            end.settimeout(SILENCE_SECONDS)
            ready.register(end, selectors.EVENT_READ)
        while ready.get_map():
            events = ready.select(SILENCE_SECONDS)
            if not events:
                return
            for key, _ in events:
                wire = cast("socket.socket", key.fileobj)
                count = wire.recv_into(buffer)
                if count:
                    ways[wire].sendall(buffer[:count])
                else:
                    ready.unregister(wire)
                    _hang_up(ways[wire], socket.SHUT_WR)


def _says(status: str) -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()


def _hang_up(wire: socket.socket, how: int = socket.SHUT_RDWR) -> None:
    with contextlib.suppress(OSError):
        wire.shutdown(how)
