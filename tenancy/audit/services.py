"""Writes audit events, in the transaction of what they describe."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson

from tenancy.audit.actions import Action
from tenancy.audit.models import AuditEvent
from tenancy.audit.pseudonyms import PERSONAL, revealed, stand_in
from tenancy.scope import SqlCall, current_organization_id, preparing_cursor


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts: `kind` is user, api_key, directory, staff or system."""

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
    session_id: str = ""


SYSTEM = Actor("system", "", "Capsule Memory Cloud")
NOWHERE = Context()
ID_STARTS = len('{"id":"')  # every body begins with the id
ID_ENDS = ID_STARTS + 36
_NUL = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")  # behind an even number of backslashes
_APPEND = "SELECT audit_append(%s, %s, %s, %s, %s)"
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


def record(
    *,
    action: Action,
    actor: Actor,
    target: Target,
    metadata: Mapping[str, Any] | None = None,
    changes: Mapping[str, Sequence[Any]] | None = None,
    reason: str = "",
) -> AuditEvent:
    """Append one event to the trail of the organization in scope, in the transaction under way; returns it, revealed.

    `metadata` is JSON without secrets; `changes` says for each field the value before and the one after; `reason` is
    what somebody gave as theirs. Raises TypeError for what is no JSON, for a float and for an integer past 2^53.
    """
    organization_id = current_organization_id()
    params, names = _prepared(organization_id, action, actor, target, metadata, changes, reason)
    with preparing_cursor() as cursor:
        cursor.execute(_APPEND, [organization_id, *params])
        [(body,)] = cursor.fetchall()
    event = AuditEvent(
        id=UUID(body[ID_STARTS:ID_ENDS]),
        organization_id=organization_id,
        action=action.name,
        actor_id=params[1],
        target_id=params[2],
        body=body,
    )
    if names:
        event.reveal(revealed(body, names))
    return event


def record_call(
    *,
    action: Action,
    actor: Actor,
    target: Target,
    metadata: Mapping[str, Any] | None = None,
    changes: Mapping[str, Sequence[Any]] | None = None,
    reason: str = "",
    organization_id: UUID | None = None,
) -> SqlCall:
    """The same as a call for `scope.one_trip`; outside a scope it must be told the organization.

    Who is named for the first time is introduced to the trail at once, outside a scope in a transaction of its own.
    """
    return SqlCall("audit_append", _prepared(organization_id, action, actor, target, metadata, changes, reason)[0])


def _prepared(
    organization_id: UUID | None,
    action: Action,
    actor: Actor,
    target: Target,
    metadata: Mapping[str, Any] | None,
    changes: Mapping[str, Sequence[Any]] | None,
    reason: str,
) -> tuple[tuple[str, str, str, str], Mapping[str, str]]:
    """The parameters of `audit_append`, and what the pseudonyms in them stand for."""
    action.check(metadata, changes)
    said: dict[str, Any] = {
        "v": action.version,
        "action": action.name,
        "actor": actor,
        "target": target,
        "context": _context.get(),
        "metadata": metadata or {},
    }
    if reason:
        said["reason"] = reason
    if metadata:
        _refuse_floats(metadata.values())
    if changes:
        said["changes"] = changes
        _refuse_floats(changes.values())
    if action.names_people or actor.kind in PERSONAL or target.kind in PERSONAL:
        names = stand_in(organization_id or current_organization_id(), action, said)
        return (action.name, _id(said["actor"]), _id(said["target"]), _text(said)), names
    return (action.name, actor.id, target.id, _text(said)), {}


def _text(said: dict[str, Any]) -> str:
    body = orjson.dumps(said, option=orjson.OPT_STRICT_INTEGER)
    if b"\\u0000" in body:  # PostgreSQL takes it for no text
        body = _NUL.sub(rb"\1\\ufffd", body)
    return body.decode()


def _id(party: Any) -> str:
    """What the columns say of an actor or a target: its id, or the pseudonym of that."""
    if isinstance(party, Actor | Target):
        return party.id
    return str(party["id"]["pseudonym"] if isinstance(party["id"], dict) else party["id"])


def _refuse_floats(values: Iterable[Any]) -> None:
    # Two programs write a float in two ways: what is proved must have one.
    for value in values:
        kind = type(value)  # asking `isinstance` of abstract classes costs more than everything else here
        if kind is float:
            raise TypeError(f"An event holds no floats: write {value!r} as text or as a whole number.")
        if kind is dict:
            _refuse_floats(value.values())
        elif kind is list or kind is tuple:
            _refuse_floats(value)
