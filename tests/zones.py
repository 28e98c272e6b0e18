"""A name server for tests, over UDP and TCP: answers from a zone that a test writes, or as badly as it is told to."""

import socketserver
import struct
import threading
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

Strings = str | tuple[str, ...]
LONGEST_UDP = 512


@dataclass
class Zone:
    """Listens on a free port of this machine while the context is open.

    `texts` are the TXT records of names, each a text or the strings that it is split into; `aliases` are CNAMEs;
    `others` are names with records of other types alone; `bad` names what comes for a name instead: an rcode,
    `silence` or `noise`. `cuts_off` leaves every answer over UDP empty and marked as cut off.
    """

    texts: dict[str, list[Strings]] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    others: set[str] = field(default_factory=set)
    bad: dict[str, str] = field(default_factory=dict)
    cuts_off: bool = False
    asked: list[tuple[str, str]] = field(default_factory=list)  # name, protocol

    def __enter__(self) -> Self:
        self._tcp = _Tcp(("127.0.0.1", 0), _TcpQuestion)
        self.port: int = self._tcp.server_address[1]
        self._udp = _Udp(("127.0.0.1", self.port), _UdpQuestion)
        for server in (self._tcp, self._udp):
            server.zone = self
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for server in (self._tcp, self._udp):
            server.shutdown()
            server.server_close()

    def answer(self, wire: bytes, protocol: str) -> bytes:
        """What goes back for a question; nothing where the server keeps silent."""
        query = dns.message.from_wire(wire)
        name = query.question[0].name.to_text(omit_final_dot=True).lower()
        self.asked.append((name, protocol))
        if (how := self.bad.get(name)) == "silence":
            return b""
        if how == "noise":
            return wire[:2] + b"\xff" * 20
        reply = dns.message.make_response(query)
        reply.flags |= dns.flags.RA
        if how:
            reply.set_rcode(dns.rcode.from_text(how))
            return reply.to_wire()
        self._fill(reply, name)
        if protocol == "udp" and (self.cuts_off or len(reply.to_wire()) > LONGEST_UDP):
            reply = dns.message.make_response(query)
            reply.flags |= dns.flags.RA | dns.flags.TC
        return reply.to_wire()

    def _fill(self, reply: dns.message.Message, name: str) -> None:
        passed = set()
        while name in self.aliases and name not in passed:
            passed.add(name)
            reply.answer.append(dns.rrset.from_text(f"{name}.", 60, "IN", "CNAME", f"{self.aliases[name]}."))
            name = self.aliases[name]
        if name in self.texts:
            values = [" ".join(_quoted(one) for one in _strings(value)) for value in self.texts[name]]
            reply.answer.append(dns.rrset.from_text(f"{name}.", 60, "IN", "TXT", *values))
        elif name not in passed and name not in self.others:
            reply.set_rcode(dns.rcode.NXDOMAIN)


def _strings(value: Strings) -> tuple[str, ...]:
    if isinstance(value, tuple):
        return value
    return tuple(value[at : at + 255] for at in range(0, len(value), 255)) or ("",)


def _quoted(text: str) -> str:
    return '"' + "".join(f"\\{byte:03}" for byte in text.encode("utf-8", "surrogateescape")) + '"'


class _Udp(socketserver.ThreadingUDPServer):
    daemon_threads = True
    zone: Zone


class _Tcp(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    zone: Zone


class _UdpQuestion(socketserver.BaseRequestHandler):
    server: _Udp

    def handle(self) -> None:
        wire, wires = self.request
        if reply := self.server.zone.answer(wire, "udp"):
            wires.sendto(reply, self.client_address)


class _TcpQuestion(socketserver.BaseRequestHandler):
    server: _Tcp

    def handle(self) -> None:
        head = self._read(2)
        if not head:
            return
        reply = self.server.zone.answer(self._read(struct.unpack("!H", head)[0]), "tcp")
        self.request.sendall(struct.pack("!H", len(reply)) + reply)

    def _read(self, length: int) -> bytes:
        found = b""
        while len(found) < length and (chunk := self.request.recv(length - len(found))):
            found += chunk
        return found


def asks(settings: Any, *zones: Zone) -> None:
    """Have the door ask these servers alone."""
    settings.DNS_NAMESERVERS = [("127.0.0.1", zone.port) for zone in zones]
