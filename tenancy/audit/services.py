"""Writes audit events, in the transaction of what they describe."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from typing import Any

import orjson
import uuid_utils.compat as uuid_utils

from tenancy.audit.actions import Action
from tenancy.audit.models import AuditEvent
from tenancy.scope import SqlCall, current_organization_id


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts: `kind` is user, api_key, staff or system."""

    kind: str
    id: str
    label: str


@dataclass(frozen=True, slots=True)
class Target:
    """What was acted upon, as it was called then."""

    kind: str
    id: str
    label: str


@dataclass(frozen=True, slots=True)
class Context:
    """Where a request came from."""

    request_id: str = ""
    ip: str = ""
    user_agent: str = ""


SYSTEM = Actor("system", "", "Capsule Memory Cloud")
NOWHERE = Context()
_context: ContextVar[Context] = ContextVar("audit_context", default=NOWHERE)


@contextmanager
def context(value: Context) -> Iterator[None]:
    """Every event recorded inside says that it came from here; a surface opens it for each request."""
    token = _context.set(value)
    try:
        yield
    finally:
        _context.reset(token)


def current_context() -> Context:
    """Where the request under way came from."""
    return _context.get()


def record(*, action: Action, actor: Actor, target: Target, metadata: dict[str, Any] | None = None) -> AuditEvent:
    """Append one event to the trail of the organization in scope. Metadata is JSON without secrets."""
    return AuditEvent.objects.create(
        organization_id=current_organization_id(),
        action=action.name,
        actor=asdict(actor),
        target=asdict(target),
        context=asdict(_context.get()),
        metadata=metadata or {},
    )


def record_call(*, action: Action, actor: Actor, target: Target, metadata: dict[str, Any] | None = None) -> SqlCall:
    """The same as a call for `scope.one_trip`."""
    return SqlCall(
        "audit_record",
        (
            uuid_utils.uuid7(),
            action.name,
            orjson.dumps(actor).decode(),
            orjson.dumps(target).decode(),
            orjson.dumps(_context.get()).decode(),
            orjson.dumps(metadata or {}).decode(),
        ),
    )
