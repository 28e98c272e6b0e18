"""Makes the months of usage events before they begin, and watches what has none."""

import logging
from datetime import timedelta

from django.utils import timezone

from billing.metering import ids
from tenancy.scope import unscoped

MADE_AHEAD = timedelta(days=92)
log = logging.getLogger("metering")


def make_partitions() -> int:
    """Make every month's partition from the oldest id that is taken to three months ahead; returns how many were made.

    An event of any other month is kept in the DEFAULT partition, where nothing is lost and everything is slow: the log
    says `metering.outside_partitions` as long as there are some. They move over when their month is made.
    """
    now = timezone.now()
    with unscoped(reason="partitions hold usage of every organization") as wide:
        [made] = wide.rows("metering_make_partitions", now - ids.OLDEST, now + MADE_AHEAD)
        [outside] = wide.rows("metering_outside_partitions")
    if outside["events"]:
        log.error("metering.outside_partitions events=%d", outside["events"])
    return int(made["made"])
