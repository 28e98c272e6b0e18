"""Makes events, runs the engine, and reads what arrived as a receiver would."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from django.utils import timezone

from tenancy.audit import actions
from tenancy.audit.sealing.models import Checkpoint, Leaf
from tenancy.audit.services import Target as AuditTarget
from tenancy.audit.services import record
from tenancy.audit.streams.models import DeadLetter, Delivery, Stream
from tenancy.audit.streams.services import NewSecret
from tenancy.scope import scope
from tests.factories import Tenant
from tests.sealing import seal_all
from tests.targets import Target


def happen(tenant: Tenant, count: int = 5, *, name: str = 'Zoë 日本 \\ "x"') -> int:
    """So many events more, sealed; returns how many there are."""
    with scope(tenant.organization):
        for number in range(count):
            record(
                action=actions.PROJECT_UPDATED,
                actor=tenant.actor,
                target=AuditTarget("project", str(number), f"{name} {number}"),
            )
    seal_all()
    return size_of(tenant)


def size_of(tenant: Tenant) -> int:
    """How many events are sealed."""
    with scope(tenant.organization):
        return Leaf.objects.count()


def stream_of(tenant: Tenant, new: NewSecret) -> Stream:
    """A stream as it is now."""
    with scope(tenant.organization):
        return Stream.objects.get(pk=new.stream.pk)


def log_of(tenant: Tenant) -> list[Delivery]:
    """The attempts, the oldest first."""
    with scope(tenant.organization):
        return list(Delivery.objects.order_by("id"))


def aside(tenant: Tenant) -> list[DeadLetter]:
    """The events that were set aside."""
    with scope(tenant.organization):
        return list(DeadLetter.objects.order_by("seq"))


def make_due(tenant: Tenant) -> None:
    """Let pauses be over."""
    with scope(tenant.organization):
        Stream.objects.update(due_at=timezone.now())


def batches(target: Target) -> list[dict[str, Any]]:
    """The bodies that a webhook got."""
    return [json.loads(one.body) for one in target.received]


def places(target: Target) -> list[int]:
    """The places of the events that a webhook got, as they came."""
    return [event["seq"] for batch in batches(target) for event in batch["events"]]


def documented() -> dict[str, Any]:
    """What docs/audit-streams.md tells receivers to do, as it stands there."""
    [code] = re.findall(r"```python\n(.*?)```", Path("docs/audit-streams.md").read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)  # noqa: S102  # our own document
    return names


RECEIVER = documented()


def assert_proved(proof: dict[str, Any], events: list[dict[str, Any]]) -> None:
    """The exact bodies make the root that the checkpoint signs."""
    leaves = [hashlib.sha256(b"\x00" + event["body"].encode()).digest() for event in events]
    assert [leaf.hex() for leaf in leaves] == [event["leaf"] for event in events]
    assert [event["seq"] for event in events] == list(range(proof["first"], proof["first"] + proof["count"]))
    assert RECEIVER["is_proved"]({"proof": proof, "events": events})
    assert int(proof["checkpoint"].split("\n")[1]) == proof["size"]
    assert Checkpoint.objects.filter(note=proof["checkpoint"]).exists()
