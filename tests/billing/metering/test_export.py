"""Usage as CSV: the same sums as on the page, in constant memory, harmless in a spreadsheet."""

import csv
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from billing.metering import export
from billing.metering.export import Wanted, csv_lines
from billing.metering.meters import Meter
from billing.metering.selectors import usage
from billing.metering.services import Use, record
from tenancy.models import Project
from tenancy.scope import scope
from tests.factories import Tenant

NOW = timezone.now()
TODAY: dict[str, Any] = {"since": NOW - timedelta(hours=2), "until": NOW + timedelta(hours=2)}


def use(tenant: Tenant, meter: Meter, quantity: int, end_user: str = "", **more: Any) -> None:
    with scope(tenant.organization):
        key_id = more.pop("key_id", tenant.key.pk)
        project_id = more.pop("project_id", tenant.project.pk)
        record(Use(tenant.organization.pk, project_id, key_id, meter, quantity=quantity, end_user=end_user))


def read(tenant: Tenant, **wanted: Any) -> list[dict[str, str]]:
    lines = csv_lines(tenant.organization.pk, Wanted(**TODAY | wanted))
    return list(csv.DictReader(lines))


@pytest.mark.parametrize("names", [("meter",), ("project", "key"), ("end_user", "meter"), ()])
def test_its_sum_is_the_sum_of_the_chart(tenant: Tenant, names: tuple[str, ...], monkeypatch: Any) -> None:
    monkeypatch.setattr(export, "PAGE", 2)
    for quantity, meter, end_user in ((3, Meter.INGEST, "ada"), (5, Meter.RECALL, "bob"), (7, Meter.RECALL, "")):
        use(tenant, meter, quantity, end_user)
    use(tenant, Meter.SEAL, 11, "ada", key_id=None)
    with scope(tenant.organization):
        points = usage(**TODAY, grain="hour", group_by=names).points
    rows = read(tenant, grain="hour", group_by=names)
    assert sum(int(row["quantity"]) for row in rows) == sum(point.quantity for point in points) == 26
    assert len(rows) == len(points)


def test_each_line_says_when_its_page_was_read(tenant: Tenant, monkeypatch: Any) -> None:
    monkeypatch.setattr(export, "PAGE", 2)
    read_at = iter(NOW + timedelta(minutes=n) for n in range(3))
    for end_user in ("ada", "bob", "eve"):
        use(tenant, Meter.INGEST, 1, end_user)
    monkeypatch.setattr(timezone, "now", lambda: next(read_at))
    rows = read(tenant, group_by=("end_user",))
    moments = [f"{NOW + timedelta(minutes=n):%Y-%m-%dT%H:%M:%SZ}" for n in (0, 0, 1)]
    assert [row["as_of"] for row in rows] == moments
    assert list(rows[0])[-2:] == ["quantity", "as_of"]


def test_projects_and_keys_have_their_names_beside_their_ids(tenant: Tenant) -> None:
    use(tenant, Meter.INGEST, 1)
    use(tenant, Meter.SEAL, 1, key_id=None)
    with_key, without = sorted(read(tenant, group_by=("project", "key")), key=lambda row: -len(row["key"]))
    assert (with_key["project_id"], with_key["project"]) == (str(tenant.project.pk), tenant.project.name)
    assert with_key["key"] == f"{tenant.key.name} ({tenant.key.hint}…)"
    assert (without["key_id"], without["key"]) == ("", "")


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_what_a_spreadsheet_would_run_is_marked_as_text(tenant: Tenant, name: str) -> None:
    use(tenant, Meter.INGEST, 1, name)
    with scope(tenant.organization):
        Project.objects.update(name=name)
    [row] = read(tenant, group_by=("end_user", "project"))
    assert row["end_user"] == row["project"] == f"'{name}"


def test_quotes_commas_and_newlines_stay_in_their_cell(tenant: Tenant) -> None:
    use(tenant, Meter.INGEST, 1, 'a,"b"\nc')
    assert [row["end_user"] for row in read(tenant, group_by=("end_user",))] == ['a,"b"\nc']


def test_filters_hold(tenant: Tenant) -> None:
    use(tenant, Meter.INGEST, 1, "ada")
    use(tenant, Meter.RECALL, 2, "bob")
    with scope(tenant.organization):
        other = Project.objects.create(name="Other", slug="other")
    use(tenant, Meter.RECALL, 4, "ada", project_id=other.pk)
    assert [row["quantity"] for row in read(tenant, meters=("recall",), end_user="bob")] == ["2"]
    assert [row["quantity"] for row in read(tenant, project_id=other.pk)] == ["4"]


def test_it_is_read_page_by_page_without_holding_a_transaction(tenant: Tenant, monkeypatch: Any) -> None:
    monkeypatch.setattr(export, "PAGE", 2)
    for number in range(5):
        use(tenant, Meter.INGEST, 1, f"user {number}")
    depth = len(connection.savepoint_ids)
    for _ in csv_lines(tenant.organization.pk, Wanted(**TODAY, group_by=("end_user",))):
        assert len(connection.savepoint_ids) == depth


def test_a_long_file_takes_no_more_memory_than_a_short_one(tenant: Tenant, monkeypatch: Any) -> None:
    asked: list[int] = []

    def page(*_: Any) -> list[tuple[Any, ...]]:
        asked.append(1)
        size = export.PAGE if len(asked) < 20 else 0
        return [(datetime(2026, 1, 1, tzinfo=UTC), f"end user {number:030}", 1) for number in range(size)]

    monkeypatch.setattr(export, "_page", page)
    lines: Iterator[str] = csv_lines(tenant.organization.pk, Wanted(**TODAY, group_by=("end_user",)))
    tracemalloc.start()
    try:
        count = sum(1 for _ in lines)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == 1 + 19 * export.PAGE
    assert peak < 5 * 2**20, "All pages together are 18 MB."


def test_a_stranger_is_read_nothing_of_it(tenant: Tenant, stranger: Tenant) -> None:
    use(tenant, Meter.INGEST, 1)
    assert read(stranger) == []
