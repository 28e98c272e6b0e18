"""Says what time it is for an organization: the real time, or later where the simulator's time machine moved it on."""

from datetime import datetime, timedelta

from django.utils import timezone

from tenancy.models import Organization
from tenancy.scope import unscoped


def here() -> datetime:
    """The time of the organization in scope: what its money goes by, and nothing else."""
    ahead = Organization.objects.values_list("clock_ahead", flat=True).first()
    return timezone.now() + (ahead or timedelta(0))


def furthest(moment: datetime) -> datetime:
    """What time it is at the real `moment` for whoever is furthest ahead.

    A sweep that asks PostgreSQL with it finds everybody who may have something due, and then goes by `Organization.at`.
    """
    with unscoped(reason="how far the time machine has moved anybody's clock") as wide:
        [row] = wide.rows("tenancy_furthest_ahead")
    return moment + (row["ahead"] or timedelta(0))
