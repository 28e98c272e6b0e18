"""A customer's server for tests: keeps what it is sent, and answers well or as badly as it is told to."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self


@dataclass(frozen=True, slots=True)
class Received:
    """One request that arrived whole."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


Behaviour = Callable[[socket.socket, Received], None]


def says(status: int, body: bytes = b"", **headers: str) -> Behaviour:
    """Answer every request with this."""
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    answer = f"HTTP/1.1 {status} Said\r\nContent-Length: {len(body)}\r\n{lines}\r\n".encode() + body
    return lambda wire, _: wire.sendall(answer)


@dataclass
class Target:
    """Listens on a free port of this machine while the context is open; `behaviour` may be changed at any time."""

    behaviour: Behaviour = field(default_factory=lambda: says(200, b"ok"))
    tls: ssl.SSLContext | None = None
    received: list[Received] = field(default_factory=list)
    connections: int = 0
    most_at_once: int = 0
    over: threading.Event = field(default_factory=threading.Event)  # set at the end: what hangs may stop

    def __enter__(self) -> Self:
        self._at_once, self._lock, self._arrived = 0, threading.Lock(), threading.Condition()
        self._wires: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/hook"
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.over.set()
        with contextlib.suppress(OSError):  # wakes `accept`, which closing alone does not
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for wire in self._wires:
                with contextlib.suppress(OSError):
                    wire.shutdown(socket.SHUT_RDWR)
                wire.close()

    def wait_for(self, count: int, seconds: float = 30) -> None:
        """Return once so many requests have arrived; fails when they do not."""
        with self._arrived:
            assert self._arrived.wait_for(lambda: len(self.received) >= count, seconds), len(self.received)

    def _accept(self) -> None:
        while not self.over.is_set():
            try:
                wire, _ = self._listener.accept()
            except OSError:
                return
            wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self.connections += 1
                self._wires.append(wire)
            threading.Thread(target=self._serve, args=(wire,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError):
            wire = self.tls.wrap_socket(plain, server_side=True) if self.tls else plain
            with wire, wire.makefile("rb") as stream:
                while (request := _read(stream)) is not None:
                    self._answer(wire, request)

    def _answer(self, wire: socket.socket, request: Received) -> None:
        with self._lock:
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        with self._arrived:
            self.received.append(request)
            self._arrived.notify_all()
        try:
            self.behaviour(wire, request)
        finally:
            with self._lock:
                self._at_once -= 1


def _read(stream: object) -> Received | None:
    line = stream.readline().decode()  # type: ignore[attr-defined]  # a socket's file
    if not line:
        return None
    method, path, _ = line.split(" ", 2)
    headers = {}
    while (line := stream.readline().decode().strip()) != "":  # type: ignore[attr-defined]
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    body = stream.read(int(headers.get("content-length", 0)))  # type: ignore[attr-defined]
    return Received(method, path, headers, body)
