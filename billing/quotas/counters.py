"""Keeps the counters true: makes them anew from usage events, and deletes what nobody reads any more."""

import logging
from datetime import datetime, timedelta

from django.db import connection
from django.db.models import F, Sum
from django.utils import timezone

from billing.metering.selectors import usage
from billing.metering.services import watermark
from billing.plans import ALLOWANCE_METERS, LIMIT_COLUMNS, Allowance
from billing.quotas import selectors
from billing.quotas.models import SAMPLED, Counter, Level, Span
from billing.selectors.entitlements import effective
from capsule_cloud.memory.models import Capsule
from tenancy.scope import current_organization_id, scope, unscoped

# Longer than a lease lives and an operation takes: what was granted before that was spooled or stored, or never will be
GRACE = timedelta(minutes=10)
LATE = timedelta(minutes=10)
BATCH = 500
KEPT_DAYS = 400
RECENT = timedelta(days=3)
NEAR = 0.8  # of the limit: from there on stored bytes are summed themselves
log = logging.getLogger("quotas")


def settle(*, grace: timedelta = GRACE) -> int:
    """Bring counters down to the usage events, and up where events came by another way; returns how many changed.

    Only what was granted longer than `grace` before the moment up to which every machine's spool is stored is taken
    from the events, so a counter is never lower than what was used: a killed process's units come back, and a hard cap
    still holds, also while a spool lies.
    """
    behind = watermark.moment() - watermark.stored_until()
    if behind > LATE:
        log.error("quotas.spool_lies behind=%s counters wait for it", behind)
    with unscoped(reason="counters of every organization are settled by one loop") as wide:
        due = wide.rows("quotas_counters_to_settle", behind + grace, BATCH)
    changed = 0
    for row in due:
        with scope(row["organization_id"]):
            counter = Counter.objects.filter(pk=row["counter_id"]).first()
            if counter is not None and _settle(counter):
                changed += 1
    return changed


def _settle(counter: Counter) -> bool:
    if selectors.span_of(counter.span).starts_at != counter.starts_at:
        Counter.objects.filter(pk=counter.pk).update(settled=F("granted"))  # its time is over
        return False
    so_far = selectors.used(
        Allowance(counter.allowance), level=counter.level, subject_id=counter.subject_id, since=counter.starts_at
    )
    with connection.cursor() as cursor:
        cursor.execute("SELECT quotas_settle(%s, %s, %s)", [current_organization_id(), counter.pk, so_far])
        [(change,)] = cursor.fetchall()
    return bool(change)


def sample() -> int:
    """See what every organization in use has of what no lease counts, for its alerts and its cap on stored bytes.

    That is what there is (stored bytes, end users), and what was used of an allowance of which more can be bought.
    Returns how many organizations there were.
    """
    with unscoped(reason="organizations are sampled by one loop") as wide:
        found = wide.rows("quotas_organizations_in_use")
    for row in found:
        with scope(row["organization_id"]):
            _sample()
    return len(found)


def _sample() -> None:
    entitled, period = effective(), selectors.billing_period()
    begun = Counter.objects.filter(span=Span.PERIOD, level=Level.ORGANIZATION, starts_at=period.starts_at)
    admitting = selectors.FLOWS | set(begun.values_list("allowance", flat=True))
    for allowance in LIMIT_COLUMNS:
        limit = selectors.plan_limit(allowance)
        if limit is not None and allowance in admitting:
            continue  # the counter that admits says it
        included = entitled.allowances[allowance].quantity if limit is None else limit
        Counter.objects.update_or_create(
            allowance=allowance,
            subject_id=current_organization_id(),
            span=SAMPLED,
            starts_at=period.starts_at,
            defaults={
                "level": Level.ORGANIZATION,
                "included": included,
                "used": _seen(allowance, period.starts_at, limit),
            },
        )


def _seen(allowance: Allowance, since: datetime, limit: int | None) -> int:
    if allowance in selectors.FLOWS:
        return selectors.used(allowance, level=Level.ORGANIZATION, subject_id=current_organization_id(), since=since)
    [meter] = ALLOWANCE_METERS[allowance]
    samples = usage(since=max(since, timezone.now() - RECENT), until=timezone.now(), group_by=(), meter=meter)
    last = samples.points[-1].quantity if samples.points else None
    is_near = last is None or (limit is not None and last >= NEAR * limit)
    if allowance is Allowance.STORED_BYTES and is_near:  # the sample is of last night, and a cap must lift when it can
        return int(Capsule.objects.aggregate(bytes=Sum("size"))["bytes"] or 0)
    return last or 0


def tidy() -> int:
    """Delete counters and applied writes older than KEPT_DAYS, of every organization; returns how many rows."""
    with unscoped(reason="old counters end with their age, whosever they are") as wide:
        return int(wide.rows("quotas_tidy", KEPT_DAYS)[0]["deleted"])
