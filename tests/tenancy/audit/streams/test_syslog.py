"""Syslog over TLS: messages as RFC 5424 wants them in frames of RFC 5425, to servers that can be trusted."""

import json
import re
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capsule_cloud.lib import http
from tenancy.audit.streams import engine, syslog
from tenancy.audit.streams.services import NewSecret
from tenancy.scope import scope
from tenancy.webhooks import delivery
from tests.factories import Tenant
from tests.tenancy.audit.streams.conftest import AddStream
from tests.tenancy.audit.streams.streamed import assert_proved, happen, log_of, size_of, stream_of

MESSAGE = re.compile(
    rb"<(?P<pri>\d{1,3})>1 (?P<at>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z) (?P<host>[!-~]{1,255}) (?P<app>[!-~]{1,48}) "
    rb'(?P<pid>[!-~]{1,128}) (?P<name>[!-~]{1,32}) (?P<sd>-|\[[!-~]{1,32}(?: [!-~]{1,32}="[^"\]\\]*")*\]) (?P<text>.*)',
    re.DOTALL,
)


def parsed(stream: bytes) -> list[re.Match[bytes]]:
    """The messages of a connection, by RFC 5425's octet counting."""
    found = []
    while stream:
        length, _, rest = stream.partition(b" ")
        assert re.fullmatch(rb"[1-9][0-9]*", length)
        text, stream = rest[: int(length)], rest[int(length) :]
        assert len(text) == int(length)
        match = MESSAGE.fullmatch(text)
        assert match is not None, text
        found.append(match)
    return found


@dataclass
class Collector:
    """A syslog server; `reads` says whether it reads to the end before it closes."""

    reads: bool = True
    port: int = 0
    streams: list[bytes] = field(default_factory=list)


@contextmanager
def collecting(tls: ssl.SSLContext, *, reads: bool = True) -> Iterator[Collector]:
    collector = Collector(reads)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        collector.port = listener.getsockname()[1]

        def serve() -> None:
            with suppress(OSError):
                while True:
                    plain, _ = listener.accept()
                    with plain, suppress(OSError), tls.wrap_socket(plain, server_side=True) as wire:
                        if not collector.reads:
                            wire.recv(1)
                            plain_linger(wire)
                            continue
                        whole = b""
                        while piece := wire.recv(65536):
                            whole += piece
                        collector.streams.append(whole)
                        wire.unwrap()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield collector
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
    thread.join(5)


def plain_linger(wire: ssl.SSLSocket) -> None:
    """Close at once, with what was not read thrown away."""
    wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    wire.close()


def stream(add: AddStream, tenant: Tenant, collector: Collector, authority: str) -> NewSecret:
    options = {"host": "localhost", "port": str(collector.port), "ca_certificate": authority}
    return add(tenant, kind="syslog", options=options)


def test_every_event_arrives_in_frames_that_can_be_parsed_and_proved(
    tenant: Tenant, add: AddStream, localhost: tuple[ssl.SSLContext, str]
) -> None:
    with collecting(localhost[0]) as collector:
        new = stream(add, tenant, collector, localhost[1])
        happen(tenant, 6)
        engine.deliver(budget=60)
    messages = [one for whole in collector.streams for one in parsed(whole)]
    assert {one["pri"] for one in messages} == {b"110"}
    assert {one["app"] for one in messages} == {b"capsule-audit"}
    events = [json.loads(one["text"]) for one in messages if one["name"] != b"checkpoint"]
    assert [one["seq"] for one in events] == list(range(size_of(tenant)))
    assert messages[0]["sd"] == b'[capsule@32473 seq="0"]'
    proof = json.loads(messages[-1]["text"])
    with scope(tenant.organization):
        assert_proved(proof, events[proof["first"] :])
    assert stream_of(tenant, new).next_seq == size_of(tenant)


def test_what_was_thrown_away_unread_is_sent_again(
    tenant: Tenant, add: AddStream, localhost: tuple[ssl.SSLContext, str]
) -> None:
    with collecting(localhost[0], reads=False) as collector:
        new = stream(add, tenant, collector, localhost[1])
        happen(tenant, 20)
        engine.deliver(budget=60)
    assert (stream_of(tenant, new).next_seq, stream_of(tenant, new).failures) == (0, 1)
    assert log_of(tenant)[-1].code == "protocol"


def test_a_server_that_nobody_vouches_for_gets_nothing(
    tenant: Tenant, add: AddStream, localhost: tuple[ssl.SSLContext, str]
) -> None:
    with collecting(localhost[0]) as collector:
        add(tenant, kind="syslog", options={"host": "localhost", "port": str(collector.port)})
        happen(tenant, 1)
        engine.deliver()
    assert not any(collector.streams)
    assert log_of(tenant)[-1].code == "tls"


def test_one_that_does_not_listen_or_is_no_tls_fails_in_words(
    tenant: Tenant, add: AddStream, localhost: tuple[ssl.SSLContext, str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        port = deaf.getsockname()[1]
        outcome = syslog.send(delivery.door(), {"host": "localhost", "port": str(port)}, b"1 x", 0.3)
        assert (outcome.has_arrived, outcome.code) == (False, "connect")
    outcome = syslog.send(delivery.door(), {"host": "localhost", "port": str(port)}, b"1 x", 1)
    assert (outcome.has_arrived, outcome.code) == (False, "connect")


def test_a_private_address_is_not_gone_to(settings: object) -> None:
    outcome = syslog.send(delivery.door(), {"host": "10.0.0.1", "port": "6514"}, b"1 x", 1)
    assert (outcome.has_arrived, outcome.code) == (False, "blocked")
    with pytest.raises(http.Blocked):
        http.place("https://logs.example.com:22/", (6514,))


@given(name=st.text(max_size=60), text=st.dictionaries(st.text(max_size=20), st.text(max_size=50)))
def test_whatever_is_said_can_be_parsed_back(name: str, text: dict[str, str]) -> None:
    header = syslog.Header(datetime(2026, 11, 29, 12, tzinfo=UTC), name, 7)
    try:
        frames = syslog.framed(syslog.message(header, text)) * 2
    except TypeError:
        return  # lone surrogates are no text
    for found in parsed(frames):
        assert json.loads(found["text"]) == text
