"""Writes entitlements into the organization's columns, and grants what stands beside the plan."""

import logging
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import DatabaseError
from django.utils import timezone

from billing import announcements
from billing.models.entitlements import EntitlementOverride, EntitlementVersion
from billing.overrides import PRICE_KEYS, clean, needs_approval
from billing.plans import LIMIT_COLUMNS, UnknownPlan
from billing.quotas.models import Level
from billing.quotas.services import catch_up
from billing.selectors.entitlements import Entitlements, content, effective
from capsule_cloud.lib.jobs import enqueue
from tenancy.audit import actions
from tenancy.audit.actions import Action
from tenancy.audit.services import SYSTEM, Actor, Target, record
from tenancy.clock import here
from tenancy.errors import Conflict, Invalid, NotFound
from tenancy.models import Organization
from tenancy.scope import scope, unscoped
from tenancy.services import organizations

log = logging.getLogger("billing")
__all__ = [
    "Entitlements",
    "approve_override",
    "effective",
    "end_override",
    "grant_override",
    "recompute",
    "recompute_due",
]


class ApprovalNeeded(Conflict):
    """So much needs a second person, and not the same one."""

    code = "approval_needed"


class OverrideIsOver(Conflict):
    """The override has ended or expired: grant another."""

    code = "override_is_over"


class RecomputeFailed(Exception):
    """Some organizations could not be recomputed; the log says why, the next run tries again."""


def recompute(*, actor: Actor) -> Entitlements:
    """Write what the organization in scope is entitled to into its columns, in one transaction with an audit row.

    Call it whenever a subscription, a contract, an override or `access` has changed: it does nothing where nothing
    did. A change makes a new version of the entitlements, for the data planes that check a copy. Raises NotFound.
    """
    organization = organizations.locked()
    entitled = effective()
    old = {name: getattr(organization, name) for name in entitled.columns}
    changed = {name: value for name, value in entitled.columns.items() if old[name] != value}
    if changed:
        for name, value in changed.items():
            setattr(organization, name, value)
        organization.save(update_fields=list(changed))
        for allowance, column in LIMIT_COLUMNS.items():
            if column in changed and old[column] is None:
                catch_up(allowance, level=Level.ORGANIZATION, subject_id=organization.pk)
        record(
            action=actions.BILLING_ENTITLEMENTS_CHANGED,
            actor=actor,
            target=organizations.target(organization),
            metadata={"plan": f"{entitled.plan.key} v{entitled.plan.version}"},
            changes=actions.BILLING_ENTITLEMENTS_CHANGED.changed(old, entitled.columns),
        )
    _keep_version(content(organization, entitled))
    return entitled


def _keep_version(new: Mapping[str, Any]) -> None:
    version, _ = EntitlementVersion.objects.get_or_create()
    if version.content != new:
        version.number += 1
        before = version.content.get("plan", {"key": "free"})["key"]
        announcements.plan_changed(before=before, after=new["plan"]["key"], version=version.number)
        version.content = dict(new)
        version.changed_at = timezone.now()
        version.save()


def grant_override(
    *, actor: Actor, key: str, value: Any, reason: str, expires_at: datetime, approver: Actor | None = None
) -> EntitlementOverride:
    """Grant a value beside the plan until `expires_at`; one of the same key that holds already ends.

    `key` is a limit's column, `feature:…`, `included:…`, `overage:…` or `price:<plan>:…` (billing/overrides.py). A
    generous value without an approver waits for `approve_override`, and holds from then. A price counts from the next
    invoice on, a seat's also for those that are added before it. Raises Invalid, or ApprovalNeeded where the author
    would approve it.
    """
    now = here()
    reason = reason.strip()
    if not reason:
        raise Invalid("reason", "Say why.")
    if expires_at <= now:
        raise Invalid("expires_at", "Choose a moment in the future.")
    value = clean(key, value)
    organizations.locked()
    is_generous = needs_approval(effective(now=now).plan, key, value)
    if is_generous and approver is not None and approver.id == actor.id:
        raise ApprovalNeeded(f"{key} = {value} needs the approval of a second person.")
    granted = EntitlementOverride(
        key=key,
        value=value,
        reason=reason[:500],
        author=actor.label,
        author_id=actor.id,
        approver=approver.label if approver else "",
        created_at=now,
        expires_at=expires_at,
    )
    if is_generous and approver is None:
        granted.save()
        _record(actions.BILLING_OVERRIDE_REQUESTED, granted, actor)
    else:
        _begin(granted, actor, now)
    return granted


def approve_override(*, actor: Actor, override_id: Any) -> EntitlementOverride:
    """Let an override hold that waits for a second person; one that holds already stays as it is.

    Raises NotFound, OverrideIsOver, or ApprovalNeeded where the author approves.
    """
    now = here()
    granted = _override(override_id)
    if granted.ended_at is not None or granted.expires_at <= now:
        raise OverrideIsOver("This override has ended: grant another.")
    if granted.holds_from is None:
        if granted.author_id == actor.id:
            raise ApprovalNeeded("Somebody else than its author approves an override.")
        granted.approver = actor.label
        _begin(granted, actor, now)
    return granted


def _begin(granted: EntitlementOverride, actor: Actor, now: datetime) -> None:
    held = EntitlementOverride.objects.filter(key=granted.key, ended_at=None, holds_from__isnull=False)
    held.update(ended_at=now, ended_by=actor.label)
    granted.holds_from = now
    granted.save()
    _record(actions.BILLING_OVERRIDE_GRANTED, granted, actor)
    recompute(actor=actor)
    _tell_stripe(granted)


def _tell_stripe(granted: EntitlementOverride) -> None:
    if granted.key in PRICE_KEYS:
        enqueue("billing.sync_subscription", organization_id=granted.organization_id)


def _override(override_id: Any) -> EntitlementOverride:
    """The override, under the organization's lock. Raises NotFound."""
    organizations.locked()
    granted = EntitlementOverride.objects.filter(pk=override_id).first()
    if granted is None:
        raise NotFound("There is no such override.")
    return granted


def end_override(*, actor: Actor, override_id: Any) -> EntitlementOverride:
    """End an override before its time, or refuse one that waits; one that has ended stays as it is. Raises NotFound."""
    granted = _override(override_id)
    if granted.ended_at is None:
        _end(granted, actor)
        recompute(actor=actor)
    return granted


def _end(granted: EntitlementOverride, actor: Actor) -> None:
    granted.ended_at = here()
    granted.ended_by = actor.label
    granted.save(update_fields=["ended_at", "ended_by"])
    _record(actions.BILLING_OVERRIDE_ENDED, granted, actor)
    _tell_stripe(granted)


def _record(action: Action, granted: EntitlementOverride, actor: Actor) -> None:
    record(
        action=action,
        actor=actor,
        target=Target("override", str(granted.pk), granted.key),
        metadata={
            "value": granted.value,
            "author": granted.author,
            "approver": granted.approver,
            "expires_at": granted.expires_at.isoformat(),
        },
        reason=granted.reason,
    )


def recompute_due(*, limit: int = 1000) -> int:
    """Recompute the organizations with an expired override or a period that is over, each by itself; how many.

    An override expires by its organization's own clock; a period, of use, ends by the real one.
    Raises RecomputeFailed once the others are done.
    """
    with unscoped(reason="find organizations whose override has expired or whose period is over") as wide:
        due = [row["organization_id"] for row in wide.rows("billing_entitlements_due", timezone.now(), limit)]
    failed = [one for one in due if not recompute_one(organization_id=one)]
    if failed:
        raise RecomputeFailed(", ".join(map(str, failed)))
    return len(due)


def recompute_one(*, organization_id: UUID) -> bool:
    """End one organization's expired overrides and recompute it; False, and the log says why, where that failed."""
    try:
        with scope(organization_id):
            if Organization.objects.select_for_update(no_key=True).exists():  # it may have been purged meanwhile
                for granted in EntitlementOverride.objects.filter(ended_at=None, expires_at__lte=here()):
                    _end(granted, SYSTEM)
                recompute(actor=SYSTEM)
    except (DatabaseError, UnknownPlan):
        log.exception("entitlements.recompute_failed organization=%s", organization_id)
        return False
    return True
