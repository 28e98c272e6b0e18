"""Gives checkpoints out of our hands: what left the house, we cannot rewrite quietly.

Each way out takes an organization's newest checkpoint from time to time, when there is a newer one than it had.
"""

import logging
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from uuid import UUID

from django.conf import settings
from django.core.mail import send_mail
from django.db import transaction
from django.template.loader import render_to_string
from django.utils import timezone

from capsule_cloud.lib import storage
from tenancy.audit.sealing import selectors
from tenancy.audit.sealing.models import Checkpoint, Publication
from tenancy.models import Membership, Organization
from tenancy.roles import Role
from tenancy.scope import scope, unscoped
from tenancy.webhooks import catalogue, events

AT_ONCE = 100_000  # organizations in one look; whoever wants nothing must not keep the others
log = logging.getLogger("audit.sealing")


@dataclass(frozen=True, slots=True)
class Way:
    """How often it is due, and what gives a checkpoint out; that says whether it left.

    It is called in the organization's scope, or outside any transaction where it asks another service.
    """

    every: timedelta
    give: Callable[[Checkpoint], bool]
    is_outside: bool = False
    is_open: Callable[[], bool] = lambda: True


def by_webhook(checkpoint: Checkpoint) -> bool:
    """To the organization's endpoints that want it."""
    data = {"size": checkpoint.size, "checkpoint": checkpoint.note, "log_checkpoint": selectors.log_head().note}
    return events.emit(catalogue.AUDIT_CHECKPOINT, data=data, key=f"audit:{checkpoint.size}") > 0


def by_email(checkpoint: Checkpoint) -> bool:
    """To the organization's owners, whose mailboxes are not ours."""
    organization = Organization.objects.get()
    context = {"organization": organization, "checkpoint": checkpoint, "log_note": selectors.log_head().note}
    body = render_to_string("audit_sealing/checkpoint.txt", context | {"url": settings.PUBLIC_URL})
    owners = Membership.objects.filter(role=Role.OWNER, user__is_active=True).values_list("user__email", flat=True)
    subject = f"The audit log of {organization.name}: keep this mail"
    for address in owners:
        transaction.on_commit(
            lambda address=address: send_mail(subject, body, None, [address]),  # type: ignore[misc]
            robust=True,
        )
    return True


def by_storage(checkpoint: Checkpoint) -> bool:
    """Into the installation's bucket, where its own retention lock keeps it. Raises StorageError."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "checkpoint.txt"
        path.write_text(checkpoint.note)
        storage.own().put(f"audit-checkpoints/{checkpoint.organization_id}/{checkpoint.size:020}.txt", path)
    return True


WAYS: dict[str, Way] = {
    "webhook": Way(timedelta(days=1), by_webhook),
    "email": Way(timedelta(days=30), by_email),
    "storage": Way(timedelta(days=1), by_storage, is_outside=True, is_open=lambda: bool(settings.EXPORTS_BUCKET)),
}


def publish() -> int:
    """Publish for every organization that has a new checkpoint and a way that is due; returns how many left."""
    return sum(_publish(via, way) for via, way in WAYS.items() if way.is_open())


def _publish(via: str, way: Way) -> int:
    with unscoped(reason="asks whose checkpoint is due, then opens each one's scope") as wide:
        due = wide.rows("audit_sealing_unpublished", via, timezone.now() - way.every, AT_ONCE)
    return sum(_publish_one(row["organization_id"], via, way) for row in due)


def _publish_one(organization_id: UUID, via: str, way: Way) -> int:
    try:
        with scope(organization_id):
            checkpoint = selectors.latest_checkpoint()
        if checkpoint is None or (way.is_outside and not way.give(checkpoint)):
            return 0
        with scope(organization_id):
            if not way.is_outside and not way.give(checkpoint):
                return 0
            Publication.objects.create(organization_id=organization_id, size=checkpoint.size, via=via)
            return 1
    except Exception:  # one organization's trouble is not the others'
        log.exception("audit.publication_failed organization=%s via=%s", organization_id, via)
        return 0


def published() -> list[Publication]:
    """What left the house of the organization in scope, the newest first."""
    return list(Publication.objects.order_by("-id")[:50])
