"""Makes engine capsules with few words, and stores them for a tenant."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from capsule_cloud.memory.engine import (
    Capsule,
    CapsuleIdentity,
    CapsuleLifecycle,
    CapsuleMetadata,
    CapsuleStatus,
    CapsuleType,
    MemoryFact,
    MemoryPayload,
)
from capsule_cloud.memory.storage import save_capsule
from tenancy.scope import scope
from tests.factories import Tenant


def memory(
    *values: str,
    title: str = "A title",
    user_id: str = "ada",
    tags: Sequence[str] = (),
    summary: str = "",
    expires_at: datetime | None = None,
) -> Capsule:
    """A memory whose facts have these values, under the keys fact.0, fact.1 …"""
    facts = [MemoryFact(key=f"fact.{place}", value=value) for place, value in enumerate(values)]
    payload = MemoryPayload(facts=facts, context_summary=summary)
    return sealed(CapsuleType.MEMORY, payload.model_dump(mode="json"), title, user_id, tags, expires_at)


def skill(name: str, *, user_id: str = "ada") -> Capsule:
    """A skill of this name."""
    payload = {"skill_name": name, "description": f"how to {name}", "instructions": f"do {name}", "trigger_pattern": ""}
    return sealed(CapsuleType.SKILL, payload, name, user_id)


def context(content: str, *, title: str = "Notes", user_id: str = "ada") -> Capsule:
    """Plain text."""
    return sealed(CapsuleType.CONTEXT, {"content": content}, title, user_id)


def sealed(
    kind: CapsuleType,
    payload: dict[str, Any],
    title: str,
    user_id: str,
    tags: Sequence[str] = (),
    expires_at: datetime | None = None,
) -> Capsule:
    """A sealed capsule with a checksum, as the engine makes them."""
    capsule = Capsule(
        capsule_type=kind,
        identity=CapsuleIdentity(user_id=user_id, session_id="a session"),
        lifecycle=CapsuleLifecycle(status=CapsuleStatus.SEALED, sealed_at=datetime.now(UTC), expires_at=expires_at),
        metadata=CapsuleMetadata(title=title, tags=list(tags)),
        payload=payload,
    )
    capsule.integrity.checksum = capsule.compute_checksum()
    return capsule


def store(tenant: Tenant, *capsules: Capsule) -> list[str]:
    """Store them in the tenant's project; their ids."""
    with scope(tenant.organization):
        for capsule in capsules:
            save_capsule(tenant.project.pk, capsule)
    return [capsule.capsule_id for capsule in capsules]
