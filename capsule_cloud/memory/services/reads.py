"""Records who read which memories, where the project wants that: one event for each read, never a sample.

A read that cannot be recorded is not answered. The question itself is not kept: its hash says which were the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from capsule_cloud.lib import crypto
from tenancy.audit import actions
from tenancy.audit.services import Actor, Target, record_call
from tenancy.models import Project
from tenancy.scope import SqlCall, one_trip


@dataclass(frozen=True, slots=True)
class Reader:
    """Who reads, in a project whose `audit_reads` is on."""

    organization_id: UUID
    project_id: UUID
    project: str  # as it is called
    actor: Actor


def reader_of(project: Project, actor: Actor) -> Reader | None:
    """Who reads, if the project wants to know."""
    if not project.audit_reads:
        return None
    return Reader(project.organization_id, project.pk, project.name, actor)


def calls(
    reader: Reader | None,
    operation: str,
    capsules: Sequence[str] = (),
    *,
    query: str = "",
    user_id: str | None = None,
    session_id: str = "",
) -> tuple[SqlCall, ...]:
    """The event of a read, for `scope.one_trip` with the read itself; none without a reader.

    `capsules` are the ids that are given out.
    """
    if reader is None:
        return ()
    metadata: dict[str, Any] = {"operation": operation, "capsules": list(capsules)}
    if query:
        metadata["query_hash"] = hash_of(reader.organization_id, query)
    if user_id:
        metadata["user_id"] = user_id
    if session_id:
        metadata["session_id"] = session_id
    target = Target("project", str(reader.project_id), reader.project)
    return (
        record_call(
            action=actions.MEMORY_READ,
            actor=reader.actor,
            target=target,
            metadata=metadata,
            organization_id=reader.organization_id,
        ),
    )


def note(reader: Reader | None, operation: str, capsules: Sequence[str] = (), **more: Any) -> None:
    """Record a read by itself, before it is answered, with or without a scope; `more` is as for `calls`."""
    if reader is not None:
        one_trip(reader.organization_id, *calls(reader, operation, capsules, **more))


def hash_of(organization_id: UUID, query: str) -> str:
    """A keyed hash of a question, of 128 bits: the same within an organization, another in each."""
    return crypto.keyed_hash(b"question:" + organization_id.bytes + query.encode("utf-8", "surrogatepass"))[:16].hex()
