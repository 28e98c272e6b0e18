"""Owns every request to an address that a customer chose: it reaches the public internet and nothing else.

A name is resolved once, every address that it has is checked, and the connection goes to one that was checked: between
check and use no second answer of a name server can come. Redirects are never followed, the environment's proxies are
ignored, time and size are bounded, and nothing is sent while a transaction is open.
"""

import ipaddress
import re
import socket
import ssl
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpcore
import httpx
from django.conf import settings
from django.db import connection, transaction

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], list[str]]
LONGEST_URL = 2048
MOST_CONNECTIONS, MOST_IDLE, IDLE_SECONDS = 512, 128, 15.0
RESOLVERS = 64  # names that are looked up at once: a slow name server holds up its own names alone
LONGEST_PROXY_ANSWER = 8192
# Of IPv4 all but these (IANA's special-purpose registry), and an address that one cloud gives to its own machines.
CLOSED_4 = tuple(
    ipaddress.IPv4Network(network)
    for network in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
        *("192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24"),
        *("203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4", "168.63.129.16/32"),
    )
)
# Of IPv6 only what is given out to networks, without what leads to IPv4 (6to4, Teredo) or nowhere. Mapped addresses,
# NAT64 (64:ff9b::/96), link-local, unique local and multicast ones are outside of it.
OPEN_6 = ipaddress.IPv6Network("2000::/3")
CLOSED_6 = tuple(ipaddress.IPv6Network(network) for network in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"))
_NUMERIC = re.compile(r"(?:0x[0-9a-f]*|[0-9]+)")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")


class OpenTransaction(RuntimeError):
    """Something outside was called while a transaction was open: locks would be held all that time. Our mistake."""


class HttpError(Exception):
    """There is no answer. `code` is for programs (blocked, timeout, connect, tls, protocol), `str()` for people."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


class Blocked(HttpError):
    """The address is not one that we go to; nothing was sent. A retry helps only after the address has changed."""

    def __init__(self, sentence: str) -> None:
        super().__init__("blocked", sentence)


class Unanswered(HttpError):
    """The request may have arrived, but no answer came back. A retry may help."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a URL leads. `is_local`: to this machine, where development allows that."""

    scheme: str
    host: str
    port: int
    authority: str  # the host as the Host header has it, with a port that is not the scheme's own
    target: bytes
    is_local: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. `body` has at most the bytes that were asked for; `is_whole` says whether that is all."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    is_whole: bool

    def header(self, name: str) -> str:
        """The first header of this name, or nothing."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), "")


@dataclass(frozen=True, slots=True)
class _Trip:
    """What the connection must know of the request that it is made for."""

    ends_at: float
    is_local: bool

    @property
    def left(self) -> float:
        """Seconds until the end, never none: a socket would take 0 for something else."""
        return max(self.ends_at - time.monotonic(), 0.001)


_trip: ContextVar[_Trip] = ContextVar("trip")


def place(url: str, more_ports: Collection[int] = ()) -> Place:
    """Where a URL leads, if it is one that we go to, as far as its text says. Raises Blocked, with what to change.

    `more_ports` are open beside EGRESS_PORTS, for protocols that have ports of their own.
    """
    if len(url) > LONGEST_URL:
        raise Blocked(f"The address is longer than {LONGEST_URL} characters.")
    try:
        parts = httpx.URL(url)
        host = parts.raw_host.decode("ascii").lower().removesuffix(".")
        port = parts.port or {"https": 443, "http": 80}.get(parts.scheme, 0)
    except (httpx.InvalidURL, UnicodeError, ValueError):
        raise Blocked("This is no address: write it as https://hooks.example.com/path.") from None
    if parts.userinfo:
        raise Blocked("The address holds a name or password before the @: leave it out, requests are signed.")
    if not _is_host(host):
        raise Blocked("The address has no host that can be reached: write it as https://hooks.example.com/path.")
    is_local = settings.EGRESS_LOOPBACK and _is_loopback_name(host)
    if not is_local and parts.scheme != "https":
        raise Blocked("The address must begin with https://.")
    if is_local and parts.scheme not in {"https", "http"}:
        raise Blocked("The address must begin with https:// or http://.")
    if not is_local and port not in settings.EGRESS_PORTS and port not in more_ports:
        allowed = " or ".join(map(str, sorted({*settings.EGRESS_PORTS, *more_ports})))
        raise Blocked(f"Port {port} is not open for this: use {allowed}.")
    literal = _literal(host)
    if not is_local and (_is_loopback_name(host) or (literal is not None and not is_public(literal))):
        raise Blocked(_nowhere(host))
    return Place(parts.scheme, host, port, parts.netloc.decode("ascii"), parts.raw_path, is_local)


def is_public(address: IpAddress) -> bool:
    """Whether an address is on the public internet."""
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in CLOSED_4)
    return address in OPEN_6 and not any(address in network for network in CLOSED_6)


def refuse_open_transaction() -> None:
    """Raise OpenTransaction inside a transaction; the one that a test case wraps around a test does not count."""
    if connection.in_atomic_block:
        try:
            with transaction.atomic(durable=True):
                pass
        except RuntimeError as error:
            raise OpenTransaction("Send it before or after the transaction, not inside it.") from error


def _is_host(host: str) -> bool:
    """A canonical IP address, or a name of at least two labels (`localhost` is for `_is_loopback_name`).

    Decimal, octal and hexadecimal forms of IPv4 are none: what ends in a number must be written as four of them.
    """
    if _literal(host) is not None or host == "localhost":
        return True
    labels = host.split(".")
    is_name = len(host) <= 253 and len(labels) > 1 and all(_LABEL.fullmatch(label) for label in labels)
    return is_name and not _NUMERIC.fullmatch(labels[-1])


def _literal(host: str) -> IpAddress | None:
    try:
        return ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return None


def _is_loopback_name(host: str) -> bool:
    literal = _literal(host)
    return host == "localhost" or host.endswith(".localhost") or (literal is not None and literal.is_loopback)


def _nowhere(host: str) -> str:
    # one sentence for "no such name" and for "a private address": which names our network knows is nobody's business
    return f"{host} does not lead to an address on the public internet."


def resolve(host: str, port: int) -> list[str]:
    """Every address of a name, by the system's resolver. Raises OSError."""
    infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(info[4][0]) for info in infos))


class Door:
    """Sends requests; keeps connections open for the next one. Safe from any thread.

    `tls` replaces how servers are verified and `resolve_name` how names are looked up, for tests.
    """

    def __init__(self, resolve_name: Resolve = resolve, tls: ssl.SSLContext | None = None) -> None:
        self._backend = _Backend(resolve_name)
        self._pool = httpcore.ConnectionPool(
            ssl_context=tls or httpcore.default_ssl_context(),
            max_connections=MOST_CONNECTIONS,
            max_keepalive_connections=MOST_IDLE,
            keepalive_expiry=IDLE_SECONDS,
            network_backend=self._backend,
        )

    def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes | Iterator[bytes] = b"",
        timeout: float,
        most: int,
        more_ports: Collection[int] = (),
    ) -> Answer:
        """Send one request and read at most `most` bytes of its answer, all within `timeout` seconds.

        A body in pieces needs a Content-Length among the headers. A redirect is an answer like any other. Where the
        answer's body breaks off or drips too slowly, it is not whole. Raises Blocked, Unanswered, or OpenTransaction.
        """
        refuse_open_transaction()
        to = place(url, more_ports)
        token = _trip.set(_Trip(time.monotonic() + timeout, to.is_local))
        address = httpcore.URL(scheme=to.scheme, host=to.host, port=to.port, target=to.target)
        sent = [("Host", to.authority), ("Accept-Encoding", "identity"), *headers.items()]
        limits = {"timeout": {"pool": timeout}}
        try:
            with self._pool.stream(method, address, headers=sent, content=body, extensions=limits) as response:
                shown = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in response.headers)
                return Answer(response.status, shown, *_read(response, most))
        except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError) as error:
            raise _unanswered(error, to.host, timeout) from error
        finally:
            _trip.reset(token)

    def connect(self, url: str, *, timeout: float, more_ports: Collection[int] = ()) -> socket.socket:
        """A bare connection to where a URL leads, checked alike, for what speaks through it by itself.

        It is the caller's to close, and has no deadline any more. Raises Blocked or Unanswered.
        """
        to = place(url, more_ports)
        token = _trip.set(_Trip(time.monotonic() + timeout, to.is_local))
        try:
            wire: socket.socket = self._backend.connect_tcp(to.host, to.port).get_extra_info("socket")
        except (httpcore.TimeoutException, httpcore.NetworkError) as error:
            raise _unanswered(error, to.host, timeout) from error
        finally:
            _trip.reset(token)
        return wire

    def close(self) -> None:
        """Close every connection."""
        self._pool.close()
        self._backend.close()


def _read(response: httpcore.Response, most: int) -> tuple[bytes, bool]:
    body = b""
    try:
        for chunk in response.iter_stream():
            body += chunk
            if len(body) > most:
                return body[:most], False
    except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError):
        return body, False
    return body, True


def _unanswered(error: Exception, host: str, timeout: float) -> Unanswered:
    if isinstance(error, httpcore.TimeoutException):
        return Unanswered("timeout", f"{host} gave no answer within {timeout:g} seconds.")
    if isinstance(error, httpcore.ConnectError):
        if isinstance(error.__cause__ or error.__context__, ssl.SSLError):
            return Unanswered("tls", f"{host} has no certificate that can be trusted, or speaks no TLS.")
        return Unanswered("connect", f"{host} cannot be reached.")
    return Unanswered("protocol", f"{host} ended the connection before its answer, or does not speak HTTP.")


class _Backend(httpcore.NetworkBackend):
    """Connects to addresses that were checked a moment before."""

    def __init__(self, resolve_name: Resolve) -> None:
        self._resolve = resolve_name
        self._resolvers = ThreadPoolExecutor(RESOLVERS, "resolve")
        self._sockets = httpcore.SyncBackend()

    def close(self) -> None:
        """Look nothing up any more."""
        self._resolvers.shutdown(wait=False, cancel_futures=True)

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """A connection to one of the host's addresses, when every one of them is allowed. Raises Blocked."""
        trip = _trip.get()
        addresses = self._addresses(host, port, trip)
        failure: Exception = httpcore.ConnectError("no address")
        for place_in_line, address in enumerate(addresses):
            patience = trip.left / (len(addresses) - place_in_line)
            try:
                if settings.EGRESS_PROXY and not trip.is_local:
                    return self._through_proxy(address, port, patience)
                return _Stream(self._sockets.connect_tcp(address, port, patience))
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    def _addresses(self, host: str, port: int, trip: _Trip) -> list[str]:
        try:
            found = self._resolvers.submit(self._resolve, host, port).result(trip.left)
        except TimeoutError as error:
            raise httpcore.ConnectTimeout from error
        except (OSError, UnicodeError) as error:
            raise Blocked(_nowhere(host)) from error
        for text in found:
            address = ipaddress.ip_address(text)
            if not (address.is_loopback if trip.is_local else is_public(address)):
                raise Blocked(_nowhere(host))
        return found

    def _through_proxy(self, address: str, port: int, patience: float) -> httpcore.NetworkStream:
        """A tunnel to the checked address: the proxy looks nothing up either."""
        proxy = urlsplit(settings.EGRESS_PROXY)
        stream = _Stream(self._sockets.connect_tcp(proxy.hostname or "", proxy.port or 80, patience))
        target = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
        stream.write(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode("ascii"))
        answer = b""
        while b"\r\n\r\n" not in answer:
            chunk = stream.read(1)  # no byte of the tunnel itself
            answer += chunk
            if not chunk or len(answer) > LONGEST_PROXY_ANSWER:
                break
        if not re.match(rb"HTTP/1\.[01] 200[ \r]", answer):
            stream.close()
            raise httpcore.ConnectError("the egress proxy refused")
        return stream


class _Stream(httpcore.NetworkStream):
    """A connection whose every step ends with the request that it serves, however slowly bytes drip."""

    def __init__(self, inner: httpcore.NetworkStream) -> None:
        self._inner = inner

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Up to so many bytes."""
        _refuse_late(httpcore.ReadTimeout)
        return self._inner.read(max_bytes, _trip.get().left)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """All of it; each part that the other side takes has only what is left of the time."""
        wire: socket.socket = self._inner.get_extra_info("socket")
        rest = memoryview(buffer)
        while rest:
            _refuse_late(httpcore.WriteTimeout)
            wire.settimeout(_trip.get().left)
            try:
                rest = rest[wire.send(rest) :]
            except TimeoutError as error:
                raise httpcore.WriteTimeout from error
            except OSError as error:
                raise httpcore.WriteError from error

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        """The same connection, encrypted; the certificate must be that of the name in the URL."""
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, _trip.get().left))

    def close(self) -> None:
        """Hang up."""
        self._inner.close()

    def get_extra_info(self, info: str) -> Any:
        """What httpcore asks of a connection."""
        return self._inner.get_extra_info(info)


def _refuse_late(error: type[Exception]) -> None:
    if time.monotonic() >= _trip.get().ends_at:
        raise error
