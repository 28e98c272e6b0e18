"""Syslog over TLS: messages of RFC 5424, framed by RFC 5425, through the door that reaches the internet alone."""

import contextlib
import re
import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import orjson
from django.conf import settings

from capsule_cloud.lib import http
from tenancy.audit.streams import kinds
from tenancy.audit.streams.outcomes import Outcome, Verdict, failed

PRIORITY = 13 * 8 + 6  # facility "log audit", severity "informational"
APP_NAME = "capsule-audit"
# RFC 5612's number for documentation: a name of ours without one is not allowed, and we have none assigned
STRUCTURE = "capsule@32473"
GOODBYE = 5.0  # seconds that the other side has to say that it has read everything
_UNPRINTABLE = re.compile(r"[^!-~]")


@dataclass(frozen=True, slots=True)
class Header:
    """What stands before a message: when, what (MSGID), and the event's place."""

    at: datetime
    name: str
    seq: int | None = None


def message(header: Header, content: Mapping[str, Any]) -> bytes:
    """One message of RFC 5424; its text is JSON in UTF-8, without a byte order mark."""
    host = _UNPRINTABLE.sub("", urlsplit(settings.PUBLIC_URL).hostname or "-")[:255]
    at = header.at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    structure = "-" if header.seq is None else f'[{STRUCTURE} seq="{header.seq}"]'
    name = _UNPRINTABLE.sub("", header.name)[:32] or "-"
    return f"<{PRIORITY}>1 {at} {host} {APP_NAME} - {name} {structure} ".encode() + orjson.dumps(content)


def framed(text: bytes) -> bytes:
    """A message with its length before it (RFC 5425, octet counting)."""
    return f"{len(text)} ".encode() + text


def send(through: http.Door, options: Mapping[str, str], frames: bytes, timeout: float) -> Outcome:
    """Send frames over a connection of their own, and close it; no transaction may be open.

    Syslog has no answer. It has arrived when the other side, asked to close, has read up to there and closes too:
    what it threw away unread would have reset the connection.
    """
    http.refuse_open_transaction()
    ends_at = time.monotonic() + timeout
    url = kinds.url_of("syslog", options)
    try:
        plain = through.connect(url, timeout=timeout, more_ports=kinds.SYSLOG_PORTS)
    except http.HttpError as error:
        return failed(str(error), error.code)
    with plain:
        try:
            plain.settimeout(_left(ends_at))
            wire = kinds.trust(options).wrap_socket(plain, server_hostname=options["host"].strip("[]"))
        except ssl.SSLError:
            return failed(f"{options['host']} has no certificate that can be trusted, or speaks no TLS.", "tls")
        except OSError:
            return failed(f"{options['host']} ended the connection before TLS began.", "connect")
        with wire:
            return _write(wire, frames, ends_at, options["host"])


def _write(wire: ssl.SSLSocket, frames: bytes, ends_at: float, host: str) -> Outcome:
    rest = memoryview(frames)
    try:
        while rest:
            wire.settimeout(_left(ends_at))
            rest = rest[wire.send(rest) :]
        wire.settimeout(min(GOODBYE, _left(ends_at)))
        with contextlib.suppress(ssl.SSLEOFError, ssl.SSLZeroReturnError):  # it closes without a word: it has read
            wire.unwrap().shutdown(socket.SHUT_RDWR)
    except TimeoutError:
        return failed(f"{host} did not say in time that it has read everything.", "timeout")
    except (OSError, ssl.SSLError):
        return failed(f"{host} ended the connection before it had read everything.", "protocol")
    return Outcome(Verdict.ARRIVED, "Read, and closed.")


def _left(ends_at: float) -> float:
    return max(ends_at - time.monotonic(), 0.001)
