"""Gives checkpoints out of our hands: what a customer was sent, we cannot rewrite quietly.

A way out is a function that gets the checkpoint in the scope of its organization, and says whether it left. Each of an
organization's ways takes the newest checkpoint once a day, when there is a newer one than it had.
"""

import logging
from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

from django.utils import timezone

from tenancy.audit.sealing import selectors
from tenancy.audit.sealing.models import Checkpoint, Publication
from tenancy.scope import current_organization_id, scope, unscoped
from tenancy.webhooks import catalogue, events

EVERY = timedelta(days=1)
AT_ONCE = 1_000  # organizations in one look
Way = Callable[[Checkpoint], bool]
log = logging.getLogger("audit.sealing")


def by_webhook(checkpoint: Checkpoint) -> bool:
    """To the organization's endpoints that want it."""
    data = {"size": checkpoint.size, "checkpoint": checkpoint.note, "log_checkpoint": selectors.log_head().note}
    return events.emit(catalogue.AUDIT_CHECKPOINT, data=data, key=f"audit:{checkpoint.size}") > 0


WAYS: dict[str, Way] = {"webhook": by_webhook}


def publish() -> int:
    """Publish for every organization that has a new checkpoint and a way that is due; returns how many left."""
    return sum(_publish(via, way) for via, way in WAYS.items())


def _publish(via: str, way: Way) -> int:
    with unscoped(reason="asks whose checkpoint is due, then opens each one's scope") as wide:
        due = wide.rows("audit_sealing_unpublished", via, timezone.now() - EVERY, AT_ONCE)
    return sum(_publish_one(row["organization_id"], via, way) for row in due)


def _publish_one(organization_id: UUID, via: str, way: Way) -> int:
    try:
        with scope(organization_id):
            checkpoint = selectors.latest_checkpoint()
            if checkpoint is None or not way(checkpoint):
                return 0
            Publication.objects.create(organization_id=current_organization_id(), size=checkpoint.size, via=via)
            return 1
    except Exception:  # one organization's trouble is not the others'
        log.exception("audit.publication_failed organization=%s via=%s", organization_id, via)
        return 0


def published() -> list[Publication]:
    """What left the house of the organization in scope, the newest first."""
    return list(Publication.objects.order_by("-id")[:50])
