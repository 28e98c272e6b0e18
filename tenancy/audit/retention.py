"""Deletes events that are older than their organization's plan keeps them, unless a legal hold forbids it."""

import logging
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import DatabaseError
from django.utils import timezone

from tenancy.audit import actions
from tenancy.audit.models import AuditHold
from tenancy.audit.services import SYSTEM, Actor, Target, record
from tenancy.errors import Conflict, Invalid, NotFound
from tenancy.models import Organization
from tenancy.scope import current_organization_id, preparing_cursor, scope, unscoped

BATCH = 20_000  # events deleted in one transaction
ORGANIZATIONS = 1_000  # looked after in one run
log = logging.getLogger("audit")


class AlreadyHeld(Conflict):
    """The organization's trail is under a legal hold already: release it first to give another reason."""

    code = "already_held"


class ExpiryFailed(Exception):
    """The events of some organizations could not be deleted; the log says why, the next run tries again."""


@dataclass(frozen=True, slots=True)
class Expired:
    """What a run deleted of an organization: how many events, all older than `before`, and how many wait unsealed."""

    organization_id: UUID
    deleted: int
    unsealed: int
    before: datetime


def expire_due(*, batch: int = BATCH) -> list[Expired]:
    """Delete every organization's events that its plan no longer keeps; returns the exact counts.

    What goes has a leaf in its organization's tree, which stays: that there was an event, and which hash it had, is
    proved for ever. What is not sealed yet waits. One organization that fails does not keep the others.
    """
    with unscoped(reason="find organizations with events older than their plan keeps") as wide:
        due = [row["organization_id"] for row in wide.rows("audit_expiring", ORGANIZATIONS)]
    done: list[Expired] = []
    failed: list[UUID] = []
    for organization_id in due:
        try:
            done.append(_expire(organization_id, batch))
        except DatabaseError:
            log.exception("audit.expiry_failed organization=%s", organization_id)
            failed.append(organization_id)
    if failed:
        raise ExpiryFailed(failed)
    return done


def _expire(organization_id: UUID, batch: int) -> Expired:
    total = 0
    while True:
        with scope(organization_id):
            with preparing_cursor() as cursor:
                cursor.execute("SELECT * FROM audit_expire(%s, %s)", [organization_id, batch])
                [(deleted, unsealed, before)] = cursor.fetchall()
            if deleted:
                record(
                    action=actions.EVENTS_EXPIRED,
                    actor=SYSTEM,
                    target=Target("organization", str(organization_id), ""),
                    metadata={"events": deleted, "before": before.isoformat()},
                )
        total += deleted
        if deleted < batch:
            log.info("audit.expired organization=%s events=%d unsealed=%d", organization_id, total, unsealed)
            return Expired(organization_id, total, unsealed, before)


def held() -> AuditHold | None:
    """The legal hold that the trail of the organization in scope is under, if any."""
    return AuditHold.objects.filter(released_at=None).first()


def hold(*, actor: Actor, reason: str) -> AuditHold:
    """Keep every event of the organization in scope, and the organization itself, until the hold is released.

    Raises Invalid without a reason, AlreadyHeld.
    """
    if not reason.strip():
        raise Invalid("reason", "Say why the trail must be kept: the court, the case, the order.")
    Organization.objects.select_for_update().get()  # what is being deleted now is waited for
    if held():
        raise AlreadyHeld("This trail is under a legal hold already.")
    made = AuditHold.objects.create(organization_id=current_organization_id(), reason=reason.strip())
    record(action=actions.HOLD_SET, actor=actor, target=_target(made), reason=made.reason)
    return made


def release(*, actor: Actor, reason: str) -> AuditHold:
    """End the legal hold: what the plan no longer keeps goes with the next run. Raises Invalid, NotFound."""
    if not reason.strip():
        raise Invalid("reason", "Say why the trail need not be kept any longer.")
    ended = AuditHold.objects.select_for_update().filter(released_at=None).first()
    if ended is None:
        raise NotFound("This trail is under no legal hold.")
    ended.released_at = timezone.now()
    ended.save(update_fields=["released_at"])
    record(action=actions.HOLD_RELEASED, actor=actor, target=_target(ended), reason=reason.strip())
    return ended


def _target(one: AuditHold) -> Target:
    return Target("audit_hold", str(one.pk), one.reason[:200])
