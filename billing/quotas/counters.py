"""Keeps the counters true: makes them anew from usage events, and deletes what nobody reads any more."""

from datetime import timedelta

from django.db import connection
from django.db.models import F

from billing.plans import Allowance
from billing.quotas import selectors
from billing.quotas.models import Counter
from tenancy.scope import current_organization_id, scope, unscoped

# Longer than a lease lives, an operation takes and the spool is shipped: what was granted before is in the events
GRACE = timedelta(minutes=10)
BATCH = 500
KEPT_DAYS = 400


def settle(*, grace: timedelta = GRACE) -> int:
    """Bring counters down to the usage events, and up where events came by another way; returns how many changed.

    Only what was granted longer than `grace` ago is taken from the events, so a counter is never lower than what was
    used: a killed process's units come back, and a hard cap still holds.
    """
    with unscoped(reason="counters of every organization are settled by one loop") as wide:
        due = wide.rows("quotas_counters_to_settle", grace, BATCH)
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


def tidy() -> int:
    """Delete counters and applied writes older than KEPT_DAYS, of every organization; returns how many rows."""
    with unscoped(reason="old counters end with their age, whosever they are") as wide:
        return int(wide.rows("quotas_tidy", KEPT_DAYS)[0]["deleted"])
