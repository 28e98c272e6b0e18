"""The product's WSGI application less what BENCH_WITHOUT names: wall, metering, auth, or none as a control."""

import importlib
import os
from functools import cache
from typing import Any
from uuid import UUID

from capsule_cloud.wsgi import application
from tenancy.access import KeyPrincipal, authenticate_key
from tenancy.scope import SqlCall, preparing_cursor

WITHOUT = os.environ["BENCH_WITHOUT"]


def one_call(organization_id: UUID, call: SqlCall) -> list[tuple[Any, ...]]:
    """As `one_trip`, but no organization is entered. The bench runs it as a role that row security does not bind."""
    holes = ", %s" * len(call.params)
    with preparing_cursor() as cursor:
        cursor.execute(f"SELECT _c.* FROM {call.function}(%s{holes}) AS _c", [organization_id, *call.params])
        rows: list[tuple[Any, ...]] = cursor.fetchall()
    return rows


@cache
def the_only_caller() -> KeyPrincipal:
    """Who the bench's key belongs to, asked once."""
    return authenticate_key(f"Bearer {os.environ['BENCH_KEY']}", "127.0.0.1")


def anybody(authorization: str, ip: str) -> KeyPrincipal:
    """As `authenticate_key`, but it looks at nothing."""
    return the_only_caller()


def uncounted(call: Any, meter: Any, **values: Any) -> None:
    """As `Call.count_read`, but it counts nothing and gives no receipt."""


REPLACEMENTS: dict[str, list[tuple[str, str, Any]]] = {
    "none": [],
    "wall": [("capsule_cloud.memory.storage", "one_trip", one_call)],
    "metering": [("capsule_cloud.api.operations:Call", "count_read", uncounted)],
    "auth": [("capsule_cloud.api.door", "authenticate_key", anybody)],
}
for place, name, replacement in REPLACEMENTS[WITHOUT]:
    module, _, owner = place.partition(":")
    target = importlib.import_module(module)
    setattr(getattr(target, owner) if owner else target, name, replacement)

__all__ = ["application"]
