"""Writes entitlements into the organization's columns, and grants what stands beside the plan."""

import logging
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import DatabaseError
from django.utils import timezone

from billing.models.entitlements import EntitlementOverride, EntitlementVersion
from billing.overrides import clean, needs_approval
from billing.plans import UnknownPlan
from billing.selectors.entitlements import Entitlements, content, effective, plain
from tenancy.audit import actions
from tenancy.audit.services import SYSTEM, Actor, Target, record
from tenancy.errors import Conflict, Invalid, NotFound
from tenancy.models import Organization
from tenancy.scope import scope, unscoped
from tenancy.services import organizations

log = logging.getLogger("billing")
__all__ = ["Entitlements", "effective", "end_override", "grant_override", "recompute", "recompute_due"]


class ApprovalNeeded(Conflict):
    """So much needs a second person, and not the same one: name an approver."""

    code = "approval_needed"


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
        record(
            action=actions.BILLING_ENTITLEMENTS_CHANGED,
            actor=actor,
            target=organizations.target(organization),
            metadata={
                "plan": f"{entitled.plan.key} v{entitled.plan.version}",
                "changes": {name: [plain(old[name]), plain(value)] for name, value in changed.items()},
            },
        )
    _keep_version(content(organization, entitled))
    return entitled


def _keep_version(new: Mapping[str, Any]) -> None:
    version, _ = EntitlementVersion.objects.get_or_create()
    if version.content != new:
        version.number += 1
        version.content = dict(new)
        version.changed_at = timezone.now()
        version.save()


def grant_override(
    *, actor: Actor, key: str, value: Any, reason: str, expires_at: datetime, approver: Actor | None = None
) -> EntitlementOverride:
    """Grant a value beside the plan until `expires_at`; one of the same key that holds already ends.

    `key` is a limit's column, `feature:…`, `included:…` or `overage:…` (billing/overrides.py). Raises Invalid, or
    ApprovalNeeded where the value is generous and no second person approves.
    """
    now = timezone.now()
    reason = reason.strip()
    if not reason:
        raise Invalid("reason", "Say why.")
    if expires_at <= now:
        raise Invalid("expires_at", "Choose a moment in the future.")
    value = clean(key, value)
    organizations.locked()
    if needs_approval(effective(now=now).plan, key, value) and (approver is None or approver.id == actor.id):
        raise ApprovalNeeded(f"{key} = {value} needs the approval of a second person.")
    EntitlementOverride.objects.filter(key=key, ended_at=None).update(ended_at=now, ended_by=actor.label)
    granted = EntitlementOverride.objects.create(
        key=key,
        value=value,
        reason=reason[:500],
        author=actor.label,
        approver=approver.label if approver else "",
        created_at=now,
        expires_at=expires_at,
    )
    record(
        action=actions.BILLING_OVERRIDE_GRANTED,
        actor=actor,
        target=_target(granted),
        metadata={"value": value, "reason": granted.reason, "approver": granted.approver} | _until(granted),
    )
    recompute(actor=actor)
    return granted


def end_override(*, actor: Actor, override_id: Any) -> EntitlementOverride:
    """End an override before its time; one that has ended stays as it is. Raises NotFound."""
    organizations.locked()
    granted = EntitlementOverride.objects.filter(pk=override_id).first()
    if granted is None:
        raise NotFound("There is no such override.")
    if granted.ended_at is None:
        _end(granted, actor)
        recompute(actor=actor)
    return granted


def _end(granted: EntitlementOverride, actor: Actor) -> None:
    granted.ended_at = timezone.now()
    granted.ended_by = actor.label
    granted.save(update_fields=["ended_at", "ended_by"])
    record(action=actions.BILLING_OVERRIDE_ENDED, actor=actor, target=_target(granted), metadata=_until(granted))


def _until(granted: EntitlementOverride) -> dict[str, str]:
    return {"expires_at": granted.expires_at.isoformat()}


def _target(granted: EntitlementOverride) -> Target:
    return Target("override", str(granted.pk), granted.key)


def recompute_due(*, limit: int = 1000) -> int:
    """Recompute the organizations with an expired override or a period that is over, each by itself; how many.

    Raises RecomputeFailed once the others are done.
    """
    with unscoped(reason="find organizations whose override has expired or whose period is over") as wide:
        due = [row["organization_id"] for row in wide.rows("billing_entitlements_due", timezone.now(), limit)]
    failed = [one for one in due if not _recompute_in_scope(one)]
    if failed:
        raise RecomputeFailed(", ".join(map(str, failed)))
    return len(due)


def _recompute_in_scope(organization_id: UUID) -> bool:
    """Whether it could be done; what could not is logged and does not keep the others."""
    try:
        with scope(organization_id):
            if Organization.objects.select_for_update(no_key=True).exists():  # it may have been purged meanwhile
                for granted in EntitlementOverride.objects.filter(ended_at=None, expires_at__lte=timezone.now()):
                    _end(granted, SYSTEM)
                recompute(actor=SYSTEM)
    except (DatabaseError, UnknownPlan):
        log.exception("entitlements.recompute_failed organization=%s", organization_id)
        return False
    return True
