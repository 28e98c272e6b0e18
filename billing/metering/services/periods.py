"""Closes periods: says for good what was used in them, and tells what came late for those before with the next one."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from uuid import UUID

import orjson
from django.db import DatabaseError, transaction

from tenancy.audit import actions
from tenancy.audit.services import SYSTEM, current_context
from tenancy.scope import unscoped

GRACE = timedelta(hours=24)  # what is stored later than this after a period is told with the next one
LATE = timedelta(days=100)  # and no longer than this; ids older than a third of it are refused
PAGE = 100  # periods closed in one statement
log = logging.getLogger("metering")


def close_over(*, now: datetime, organization_id: UUID | None = None) -> list[UUID]:
    """Close every period whose grace has passed at the real moment `now`, of one organization or of all.

    A page is one transaction, and an audit row for each. An organization that keeps its page from being closed is found
    and left out: returns those.
    """
    failed: list[UUID] = []
    while True:
        try:
            closed = _close(now, organization_id, failed, PAGE)
        except DatabaseError:
            if organization_id is not None:
                log.exception("metering.close_failed organization=%s", organization_id)
                return [organization_id]
            failed += _one_by_one(now, failed)
        else:
            if not closed:
                return failed


def _one_by_one(now: datetime, failed: Sequence[UUID]) -> list[UUID]:
    """Close a page's periods each by itself; whose could not be."""
    with unscoped(reason="find whose period it is that cannot be closed") as wide:
        due = [row["organization_id"] for row in wide.rows("metering_to_close", now, GRACE, list(failed), PAGE)]
    return [one for organization_id in due for one in close_over(now=now, organization_id=organization_id)]


def _close(now: datetime, only: UUID | None, but: Sequence[UUID], limit: int) -> int:
    said = (actions.USAGE_PERIOD_CLOSED.name, _json(asdict(SYSTEM)), _json(asdict(current_context())))
    with transaction.atomic(), unscoped(reason="periods of every organization are closed a page at once") as wide:
        return len(wide.rows("metering_close_periods", now, GRACE, LATE, only, list(but), limit, *said))


def _json(value: object) -> str:
    return orjson.dumps(value).decode()


@dataclass(frozen=True, slots=True)
class Recounted:
    """What a closed period says, and the same made anew from the raw events that its closing saw: by meter."""

    organization_id: UUID
    period_id: UUID
    starts_at: datetime
    ends_at: datetime
    totals: Mapping[str, Mapping[str, int]]
    checksum: str
    counted_totals: Mapping[str, Mapping[str, int]]
    counted_checksum: str

    @property
    def is_right(self) -> bool:
        """Whether they are the same, to the hour, project and key."""
        return self.totals == self.counted_totals and self.checksum == self.counted_checksum


def recounted(period_ids: Sequence[UUID]) -> Iterator[Recounted]:
    """Count closed periods again, a page of them at once."""
    for start in range(0, len(period_ids), PAGE):
        with unscoped(reason="closed periods are counted again from the events of whoever they are of") as wide:
            rows = wide.rows("metering_recount", list(period_ids[start : start + PAGE]))
        for row in rows:
            made = {name: orjson.loads(row[name]) for name in ("totals", "counted_totals")}
            yield Recounted(**row | made)
