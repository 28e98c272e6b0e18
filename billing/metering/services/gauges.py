"""Samples what there is, where counting what happens says nothing: stored bytes, active end users, seats."""

from datetime import UTC, timedelta

from django.utils import timezone

from tenancy.scope import unscoped


def sample_gauges() -> int:
    """Sample yesterday (UTC) for every organization, if it is not sampled yet; returns the number of samples.

    An organization has a sample of its stored bytes (capsules' documents) and of its end users for each project, and
    one of its seats (members). End users are those who were active in the period so far, each once a project. What
    there is just after midnight stands for the day before, so call it often: a day that no call follows has no sample.
    """
    yesterday = (timezone.now().astimezone(UTC) - timedelta(days=1)).date()
    with unscoped(reason="gauges of every organization are sampled in one sweep") as wide:
        [row] = wide.rows("metering_sample_gauges", yesterday)
    return int(row["sampled"])
