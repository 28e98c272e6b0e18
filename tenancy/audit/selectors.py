"""Searches the audit trail of the organization in scope, newest first."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Unpack
from uuid import UUID

from django.db.models import BooleanField, QuerySet
from django.db.models.expressions import RawSQL

from tenancy.audit.filters import STAFF, Condition, Lane, Question, Wanted, question
from tenancy.audit.models import AuditEvent
from tenancy.audit.people import reveal
from tenancy.scope import current_organization_id, preparing_cursor

BUDGET = 1.0  # seconds that a search may look for its page; what it has looked at by then, it says
FIRST_LOOK, LONGEST_LOOK = 250, 20_000  # rows that are looked at in one statement; each time five times as many
MOST_COUNTED = 100_000  # events of a timeline
LOWEST, HIGHEST = UUID(int=0), UUID(int=2**128 - 1)
_COLUMNS = "id, organization_id, action, actor_id, target_id, body"
_RANGE = (
    "audit_auditevent.organization_id = %(organization)s "
    "AND audit_auditevent.id >= %(first)s AND audit_auditevent.id < %(before)s"
)
_ALL = "SELECT {columns} FROM audit_auditevent WHERE {range} ORDER BY id DESC LIMIT %(count)s"
_BY_STAFF = "SELECT {columns} FROM audit_auditevent WHERE {range} AND {staff} ORDER BY id DESC LIMIT %(count)s"
_BY_VALUE = (
    "SELECT found.* FROM unnest(%(values)s::text[]) AS one(value), LATERAL (SELECT {columns} FROM audit_auditevent "
    "WHERE {range} AND audit_auditevent.{column} = one.value ORDER BY id DESC LIMIT %(count)s) AS found "
    "ORDER BY id DESC LIMIT %(count)s"
)
# The last row that was looked at comes along, so that the next look begins behind it
_LOOK = (
    "WITH looked AS MATERIALIZED ({lane}) SELECT {columns}, false FROM looked AS audit_auditevent {where} "
    "UNION ALL (SELECT id, organization_id, '', '', '', '', true FROM looked ORDER BY id DESC LIMIT 1 OFFSET %(last)s)"
)
_COUNT = (
    "WITH looked AS MATERIALIZED ({lane}) "
    "SELECT date_trunc('hour', uuid_extract_timestamp(id), 'UTC'), action, count(*), NULL "
    "FROM looked AS audit_auditevent {where} GROUP BY 1, 2 "
    "UNION ALL SELECT NULL, '', count(*), min(uuid_extract_timestamp(id)) FROM looked"
)


@dataclass(frozen=True, slots=True)
class Found:
    """A page of a search. `before` is where to go on, None at the end of the trail.

    `looked_back_to` is set where the time was over before the page was full: everything since then was looked at.
    """

    events: list[AuditEvent]
    before: UUID | None
    looked_back_to: datetime | None


@dataclass(frozen=True, slots=True)
class Counts:
    """How many events there are by hour and action. `since` is set where only the newest were counted, from then on."""

    rows: list[tuple[datetime, str, int]]
    since: datetime | None


def search(
    *,
    before: UUID | None = None,
    limit: int = 50,
    since: datetime | None = None,
    until: datetime | None = None,
    **wanted: Unpack[Wanted],
) -> Found:
    """At most `limit` events (revealed) older than the id `before`, as `filters.Wanted` says.

    Where no index leads to the rows, it looks for BUDGET seconds and as long as the last statement takes. `since` and
    `until` hold to the millisecond.
    """
    asked = question(wanted)
    if asked is None:
        return Found([], None, None)
    first, last = _ends(since, until, before)
    ends_at, count = time.monotonic() + BUDGET, FIRST_LOOK if asked.rest else limit + 1
    found: list[AuditEvent] = []
    while True:
        events, end = _look(asked, first, last, count)
        found += events
        if len(found) > limit:
            shown = found[:limit]
            return Found(reveal(shown), shown[-1].pk, None)
        if end is None:
            return Found(reveal(found), None, None)
        last = end
        if time.monotonic() > ends_at:
            return Found(reveal(found), last, moment_of(last))
        count = min(count * 5, LONGEST_LOOK)


def events(*, limit: int = 50, **wanted: Unpack[Wanted]) -> list[AuditEvent]:
    """The newest events that fit."""
    return search(limit=limit, **wanted).events


def event(event_id: UUID) -> AuditEvent | None:
    """The event of this id, revealed."""
    return next(iter(reveal(AuditEvent.objects.filter(pk=event_id))), None)


def counts(
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    most: int = MOST_COUNTED,
    **wanted: Unpack[Wanted],
) -> Counts:
    """How many events fit, by hour, of the newest `most` that had to be looked at."""
    asked = question(wanted)
    if asked is None:
        return Counts([], None)
    first, before = _ends(since, until, None)
    columns = _COLUMNS if asked.rest else "id, action"
    rows = _ask(_COUNT, asked, columns, {"first": first, "before": before, "count": most})
    [(looked, oldest)] = [(number, end) for hour, _, number, end in rows if hour is None]
    counted = [(hour, action, number) for hour, action, number, _ in rows if hour is not None]
    return Counts(counted, oldest if looked == most else None)


def matching(rows: QuerySet[AuditEvent], **wanted: Unpack[Wanted]) -> QuerySet[AuditEvent]:
    """Those of the events that a search would find by these."""
    asked = question(wanted)
    if asked is None:
        return rows.none()
    for condition in asked.conditions:
        rows = rows.filter(RawSQL(condition.sql, condition.params, output_field=BooleanField()))  # noqa: S611 -- filters.py writes it, values are parameters
    return rows


def first_id(moment: datetime) -> UUID:
    """The lowest id (UUIDv7) of the moment's millisecond: what is recorded from then on has this one or a higher."""
    return UUID(int=max(int(moment.timestamp() * 1000), 0) << 80)


def moment_of(event_id: UUID) -> datetime:
    """When an id was made, to the millisecond."""
    return datetime.fromtimestamp((event_id.int >> 80) / 1000, UTC)


def _ends(since: datetime | None, until: datetime | None, before: UUID | None) -> tuple[UUID, UUID]:
    ends = [HIGHEST, *([before] if before else []), *([first_id(until)] if until else [])]
    return (first_id(since) if since else LOWEST), min(ends)


def _look(asked: Question, first: UUID, before: UUID, count: int) -> tuple[list[AuditEvent], UUID | None]:
    """Those of the next `count` rows that fit, newest first, and the last row looked at if there may be more."""
    params = {"first": first, "before": before, "count": count, "last": count - 1}
    found: list[AuditEvent] = []
    end = None
    for *values, is_end in _ask(_LOOK, asked, _COLUMNS, params):
        if is_end:
            end = values[0]
        else:
            found.append(AuditEvent(**dict(zip(_COLUMNS.split(", "), values, strict=True))))
    return sorted(found, key=lambda one: one.pk.int, reverse=True), end


def _ask(statement: str, asked: Question, columns: str, params: dict[str, Any]) -> list[tuple[Any, ...]]:
    lane, values = _lane(asked.lane, columns)
    where, named = _where(asked.rest)
    with preparing_cursor() as cursor:
        cursor.execute(
            statement.format(lane=lane, columns=columns, where=where),
            {"organization": current_organization_id(), "values": values, **named, **params},
        )
        rows: list[tuple[Any, ...]] = cursor.fetchall()
    return rows


def _lane(lane: Lane | None, columns: str) -> tuple[str, list[str]]:
    if lane is None:
        return _ALL.format(columns=columns, range=_RANGE), []
    if not lane.column:
        return _BY_STAFF.format(columns=columns, range=_RANGE, staff=STAFF), []
    return _BY_VALUE.format(columns=columns, range=_RANGE, column=lane.column), list(lane.values)


def _where(conditions: Sequence[Condition]) -> tuple[str, dict[str, Any]]:
    """The conditions as one, with named parameters, as the rest of the statement has."""
    named: dict[str, Any] = {}

    def names(condition: Condition) -> Iterator[str]:
        for value in condition.params:
            name = f"p{len(named)}"
            named[name] = value
            yield f"%({name})s"

    parts = []
    for condition in conditions:
        pieces = condition.sql.split("%s")
        parts.append("".join(piece + hole for piece, hole in zip(pieces, [*names(condition), ""], strict=True)))
    return (f"WHERE {' AND '.join(parts)}" if parts else ""), named
