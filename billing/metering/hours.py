"""The UTC hours that usage is summed in."""

from datetime import UTC, datetime


def hour_of(moment: datetime) -> datetime:
    """The beginning of the UTC hour that the moment is in."""
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
