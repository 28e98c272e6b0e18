"""Writes usage as CSV, a page at a time: constant memory, and nothing that a spreadsheet would run."""

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.db import connection
from django.utils import timezone

from billing.metering import ids
from billing.metering.hours import hour_of
from billing.metering.meters import COUNTERS, GAUGES, Meter
from billing.metering.selectors import ALMOST_AN_HOUR, COMBINED, EVENTS, GRAINS, GROUPS, SLACK, SUMS
from tenancy.models import ApiKey, Project
from tenancy.scope import scope

PAGE = 5_000
NOBODY = UUID(int=0)  # where no key was used: NULL has no place in an order
# A spreadsheet takes a cell that begins so for a formula, or for the end of the cell before
DANGEROUS = ("=", "+", "-", "@", "\t", "\r", "\n")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which usage: as `selectors.usage` takes it, with several meters where it takes one; none means every counter.

    A gauge stands alone: its samples are combined, not summed.
    """

    since: datetime
    until: datetime
    grain: str = "day"
    group_by: tuple[str, ...] = ("meter",)
    meters: tuple[str, ...] = ()
    project_id: UUID | None = None
    key_id: UUID | None = None
    end_user: str = ""


class _Echo:
    """What csv.writer writes to; it gives the line back."""

    def write(self, line: str) -> str:
        return line


def csv_lines(organization_id: UUID, wanted: Wanted) -> Iterator[str]:
    """A head, then a line for every UTC hour, day or month and group that has usage; their sum is that of `usage`.

    The last column is `as_of`: when the line's page was read, so a long file has several. As in `usage`, reads spooled
    in the last few seconds before it may be missing.

    Call it outside a scope: each page is read in a scope of its own, so a slow reader holds no transaction open.
    Raises KeyError for an unknown grain or group.
    """
    writer = csv.writer(_Echo())
    names = tuple(dict.fromkeys(wanted.group_by))
    yield writer.writerow([f"{GRAINS[wanted.grain]}_utc", *_head(names), "quantity", "as_of"])
    last: tuple[Any, ...] = ()
    while True:
        with scope(organization_id):
            as_of = f"{timezone.now():%Y-%m-%dT%H:%M:%SZ}"
            rows = _page(organization_id, wanted, names, last)
            labels = _labels(names, rows)
        for row in rows:
            moment = f"{row[0].astimezone(UTC):%Y-%m-%dT%H:%MZ}"
            yield writer.writerow([moment, *_cells(names, row, labels), row[-1], as_of])
        if len(rows) < PAGE:
            return
        last = rows[-1][:-1]


def _page(
    organization_id: UUID, wanted: Wanted, names: tuple[str, ...], last: tuple[Any, ...]
) -> list[tuple[Any, ...]]:
    """The next PAGE rows after the group `last`: moment, groups, sum."""
    since, until = hour_of(wanted.since), hour_of(wanted.until + ALMOST_AN_HOUR)  # as `usage` does
    since = max(since, last[0]) if last else since
    params: dict[str, Any] = {"organization": organization_id, "since": since, "until": until, "nobody": NOBODY}
    keys = [f"date_trunc('{GRAINS[wanted.grain]}', hour, 'UTC')"]
    keys += ["coalesce(key_id, %(nobody)s)" if GROUPS[name] == "key_id" else GROUPS[name] for name in names]
    where = ["hour >= %(since)s", "hour < %(until)s"]
    for column in ("project_id", "key_id", "end_user"):
        if value := getattr(wanted, column):
            where.append(f"{column} = %({column})s")
            params[column] = value
    where.append("meter = ANY(%(meters)s)")
    params["meters"] = list(wanted.meters or (meter.value for meter in COUNTERS))
    if last:
        where.append(f"({', '.join(keys)}) > ({', '.join(f'%(last{n})s' for n in range(len(last)))})")
        params |= {f"last{n}": value for n, value in enumerate(last)}
    source = SUMS
    if wanted.end_user or "end_user" in names:
        source, params["first"] = EVENTS, ids.first(since - SLACK)
    source = f"SELECT * FROM ({source}) AS every WHERE {' AND '.join(where)}"  # noqa: S608  # see below
    combined = "sum(quantity)::bigint"
    if set(wanted.meters) & GAUGES:
        [gauge] = wanted.meters
        combined = COMBINED[Meter(gauge)]
        by_hour = ", ".join(["hour", *(GROUPS[name] for name in names)])
        source = f"SELECT {by_hour}, sum(quantity) AS quantity FROM ({source}) AS wanted GROUP BY {by_hour}"  # noqa: S608
    groups = ", ".join(str(n + 1) for n in range(len(keys)))
    query = f"""
        SELECT {", ".join(keys)}, {combined} FROM ({source}) AS every
        GROUP BY {groups} ORDER BY {groups} LIMIT {PAGE}
    """  # noqa: S608  # every interpolated word comes from the tables of selectors
    with connection.cursor() as cursor:
        cursor.execute(query, params)
        return list(cursor.fetchall())


def _head(names: Iterable[str]) -> list[str]:
    """Things with names of their own have a column for the id and one for the name."""
    return [column for name in names for column in ([f"{name}_id", name] if name in {"project", "key"} else [name])]


def _labels(names: tuple[str, ...], rows: list[tuple[Any, ...]]) -> dict[UUID, str]:
    """What the projects and keys of some rows are called."""
    found: dict[UUID, str] = {}
    for number, name in enumerate(names, start=1):
        some = {row[number] for row in rows}
        if name == "project":
            found |= dict(Project.objects.filter(pk__in=some).values_list("pk", "name"))
        elif name == "key":
            found |= {key.pk: f"{key.name} ({key.hint}…)" for key in ApiKey.objects.filter(pk__in=some)}
    return found


def _cells(names: tuple[str, ...], row: tuple[Any, ...], labels: dict[UUID, str]) -> Iterator[str]:
    for name, value in zip(names, row[1:], strict=False):
        if name in {"project", "key"}:
            yield "" if value == NOBODY else str(value)
            yield _harmless(labels.get(value, ""))
        else:
            yield _harmless(value)


def _harmless(text: str) -> str:
    return f"'{text}" if text.startswith(DANGEROUS) else text
