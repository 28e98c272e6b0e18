"""Makes the months of the trail before they begin, drops those that are empty, and watches what has none."""

import logging
from datetime import timedelta

from django.utils import timezone

from tenancy.scope import unscoped

MADE_AHEAD = timedelta(days=92)
MADE_BEHIND = timedelta(days=31)  # PostgreSQL makes the ids itself: nothing older comes
log = logging.getLogger("audit")


def make_partitions() -> int:
    """Make every month's partition from last month to three months ahead; returns how many were made.

    An event of any other month is kept in the DEFAULT partition, where nothing is lost and everything is slow: the log
    says `audit.outside_partitions` as long as there are some. They move over when their month is made.
    """
    now = timezone.now()
    with unscoped(reason="partitions hold events of every organization") as wide:
        [made] = wide.rows("audit_make_partitions", now - MADE_BEHIND, now + MADE_AHEAD)
        [outside] = wide.rows("audit_outside_partitions")
    if outside["events"]:
        log.error("audit.outside_partitions events=%d", outside["events"])
    return int(made["made"])


def drop_empty_partitions() -> int:
    """Drop the partitions of past months in which no organization has an event any more; returns how many."""
    with unscoped(reason="partitions hold events of every organization") as wide:
        [dropped] = wide.rows("audit_drop_empty_partitions")
    if dropped["dropped"]:
        log.info("audit.partitions_dropped partitions=%d", dropped["dropped"])
    return int(dropped["dropped"])
