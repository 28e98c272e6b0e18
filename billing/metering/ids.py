"""Owns the ids of usage events: UUIDv7, minted once for an operation; the time in one chooses its month's partition."""

import time
from datetime import UTC, datetime, timedelta
from uuid import UUID

import uuid_utils.compat as uuid_utils

OLDEST, AHEAD = timedelta(days=35), timedelta(minutes=5)
_OLDEST_MS, _AHEAD_MS = OLDEST // timedelta(milliseconds=1), AHEAD // timedelta(milliseconds=1)
_VERSION, _TIME_BITS = 7, 80


class UnacceptableId(ValueError):
    """An event's id is no UUIDv7, or of a time older than OLDEST or more than AHEAD in the future; do not retry."""


def mint() -> UUID:
    """A new id, of this moment."""
    return uuid_utils.uuid7()


def check(event_id: UUID) -> None:
    """For an id that comes from outside. Raises UnacceptableId."""
    age = int(time.time() * 1000) - (event_id.int >> _TIME_BITS)
    if event_id.version != _VERSION or not -_AHEAD_MS <= age <= _OLDEST_MS:
        raise UnacceptableId(
            f"The id of a usage event is a UUIDv7 of the last {OLDEST.days} days, and not of the future: {event_id}."
        )


def minted_at(event_id: UUID) -> datetime:
    """The moment in a UUIDv7."""
    return datetime.fromtimestamp((event_id.int >> _TIME_BITS) / 1000, UTC)


def first(moment: datetime) -> UUID:
    """The lowest id of a moment, as PostgreSQL's metering_first_id: partitions and searches begin there."""
    return UUID(int=int(moment.timestamp() * 1000) << _TIME_BITS)
