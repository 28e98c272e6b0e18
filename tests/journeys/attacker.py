"""Whoever holds a key and means no good: sends anything over HTTP, and sees whether it changed what others hold."""

import socket
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from tests.factories import Tenant
from tests.raw import connect

HELD = (
    "api_idempotencykey",
    "audit_auditevent",
    "memory_capsule",
    "memory_searchentry",
    "memory_session",
    "memory_skilltrigger",
    "memory_turn",
    "metering_usageevent",
    "sso_verifieddomain",
    "tenancy_apikey",
    "tenancy_invitation",
    "tenancy_membership",
    "tenancy_project",
)
PROBLEM = "application/problem+json"


class Attacker:
    """A client of the live server with a key."""

    def __init__(self, http: httpx.Client, secret: str) -> None:
        self.http = http
        self.secret = secret

    def __call__(self, method: str, path: str, headers: dict[str, str] | None = None, **options: Any) -> httpx.Response:
        """The answer to one request."""
        headers = {"Authorization": f"Bearer {self.secret}"} | (headers or {})
        return self.http.request(method, path, headers=headers, **options)

    def raw(self, method: str, target: str, *headers: bytes, body: bytes = b"") -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of the answer to bytes that no client library would send."""
        lines = [
            f"{method} {target} HTTP/1.1".encode("latin-1"),
            b"Host: localhost",
            b"Connection: close",
            f"Content-Length: {len(body)}".encode(),
            *headers,
        ]
        if not any(header.lower().startswith(b"authorization:") for header in headers):
            lines.append(f"Authorization: Bearer {self.secret}".encode())
        address = (self.http.base_url.host, self.http.base_url.port or 80)
        with socket.create_connection(address, timeout=60) as wire:
            wire.sendall(b"\r\n".join(lines) + b"\r\n\r\n" + body)
            answer = b"".join(iter(lambda: wire.recv(65536), b""))
        head, _, content = answer.partition(b"\r\n\r\n")
        first, *rest = head.decode("latin-1").split("\r\n")
        named = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in rest)}
        return int(first.split()[1]), named, content


def holdings(tenant: Tenant) -> dict[str, tuple[int, str]]:
    """How many rows of each table the organization has, and a digest of all that they hold.

    But for events of attempts: an organization hears of those.
    """
    query = " UNION ALL ".join(
        f"SELECT '{table}', count(*), coalesce(md5(string_agg(row, '' ORDER BY row)), '') FROM "
        f"(SELECT (to_jsonb(t) - 'last_used_at')::text AS row FROM {table} t WHERE organization_id = %(id)s "
        f"AND NOT starts_with(coalesce(to_jsonb(t) ->> 'action', ''), 'access.')) AS {table}"
        for table in HELD
    )
    with connect("superuser") as server:
        rows = server.execute(query, {"id": tenant.organization.pk}).fetchall()
    return {table: (count, digest) for table, count, digest in rows}


@contextmanager
def untouched(*tenants: Tenant, besides: Collection[str] = ()) -> Iterator[None]:
    """Assert that what happens inside changes nothing that these organizations hold, but for some tables."""
    before = [holdings(tenant) for tenant in tenants]
    yield
    after = [holdings(tenant) for tenant in tenants]
    changed = {table for old, new in zip(before, after, strict=True) for table in old if old[table] != new[table]}
    assert changed <= set(besides), f"changed: {sorted(changed)}"


def assert_refused(answer: httpx.Response, *statuses: int) -> None:
    """Assert that the answer is one of these refusals, in the shape of its surface."""
    assert answer.status_code in statuses, (answer.request.method, str(answer.request.url)[:200], answer.text[:300])
    assert answer.headers["X-Request-Id"]
    if answer.request.url.path.startswith("/v1"):
        assert answer.headers["Content-Type"] == PROBLEM
        assert answer.json()["status"] == answer.status_code
        assert answer.json()["code"]
    else:
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.json()["detail"]
