"""The usage explorer: chart, table and file say the same, to everybody who may see usage."""

import csv
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.test import Client
from django.utils import timezone

from billing.metering import selectors
from billing.metering.meters import Meter
from billing.metering.models import UsageHour
from billing.metering.services import Use, record
from tenancy.models import Project
from tenancy.scope import scope
from tenancy.services import projects
from tests.capsule_cloud.web.conftest import queries
from tests.factories import Tenant


def use(tenant: Tenant, meter: Meter, quantity: int, end_user: str = "", **more: Any) -> None:
    with scope(tenant.organization):
        key_id = more.pop("key_id", tenant.key.pk)
        project_id = more.pop("project_id", tenant.project.pk)
        record(Use(tenant.organization.pk, project_id, key_id, meter, quantity=quantity, end_user=end_user))


def text_of(browser: Client, address: str, status: int = 200) -> str:
    answer = browser.get(address)
    assert answer.status_code == status
    return answer.content.decode()


def rows_of(browser: Client, address: str) -> list[dict[str, str]]:
    answer = browser.get(address)
    assert answer.status_code == 200
    return list(csv.DictReader(answer.getvalue().decode().splitlines()))


def test_calls_are_split_by_meter_project_key_and_end_user(tenant: Tenant, owner: Client, home: str) -> None:
    use(tenant, Meter.INGEST, 41, "ada")
    use(tenant, Meter.RECALL, 7, "bob")
    use(tenant, Meter.SEAL, 2, key_id=None)
    for by, parts in {
        "meter": ("41 turns ingested", "7 recalls", "2 sessions sealed"),
        "project": (f"50 {tenant.project.name.lower()}",),
        "key": ("48 test (", "2 in the console"),
        "end_user": ("41 ada", "7 bob", "2 no end user named"),
    }.items():
        text = text_of(owner, f"{home}usage/?by={by}")
        for part in parts:
            assert part in text, by
        assert "UTC." in text


def test_the_file_has_the_same_total_as_the_page(tenant: Tenant, owner: Client, home: str) -> None:
    use(tenant, Meter.INGEST, 1_234, "ada")
    use(tenant, Meter.READ, 77, "bob")
    for query, total in (("", 1_311), ("?what=operations&by=key", 1_234), ("?end_user=bob&by=end_user", 77)):
        assert f"<dd>{total:,}</dd>" in text_of(owner, f"{home}usage/{query}")
        rows = rows_of(owner, f"{home}usage/csv/{query}")
        assert sum(int(row["quantity"]) for row in rows) == total


def test_the_file_says_as_of_when_it_is(tenant: Tenant, owner: Client, home: str) -> None:
    answer = owner.get(f"{home}usage/csv/?since=2026-03-01&until=2026-03-31")
    name = answer["Content-Disposition"]
    assert f"usage_{tenant.organization.slug}_2026-03-01_2026-03-31_as_of_20" in name
    assert answer["Content-Type"].startswith("text/csv")
    assert answer.streaming


def test_many_end_users_become_the_largest_and_everything_else(tenant: Tenant, owner: Client, home: str) -> None:
    for number in range(12):
        use(tenant, Meter.INGEST, 100 - number, f"user-{number}")
    text = text_of(owner, f"{home}usage/?by=end_user")
    assert "user-7" in text
    assert "user-8<" not in text
    assert "Everything else" in text
    assert "<dd>1,134</dd>" in text


def test_an_archived_project_keeps_its_usage(tenant: Tenant, owner: Client, home: str) -> None:
    with scope(tenant.organization):
        old = Project.objects.create(name="Old one", slug="old")
    use(tenant, Meter.INGEST, 5, project_id=old.pk)
    with scope(tenant.organization):
        projects.archive(actor=tenant.actor, project_id=old.pk)
    assert "5 old one" in text_of(owner, f"{home}usage/?by=project&project=old")


@pytest.mark.parametrize(
    "query",
    [
        "since=yesterday",
        "since=2026-03-02&until=2026-03-01",
        "since=0001-01-01",
        "until=9999-12-31",
        "grain=hour&since=2026-01-01&until=2026-03-01",
        "grain=second",
        "by=colour",
        "what=nothing",
        "what=seat&grain=hour&since=2026-03-01&until=2026-03-01",
        "what=stored_bytes&by=key",
        "what=active_end_user&end_user=ada",
        "project=none",
        "end_user=%00",
        f"end_user={'x' * 256}",
    ],
)
def test_a_question_that_makes_no_sense_is_refused_with_a_reason(owner: Client, home: str, query: str) -> None:
    assert 'role="alert"' in text_of(owner, f"{home}usage/?{query}", 422)
    assert owner.get(f"{home}usage/csv/?{query}").status_code == 422


def test_too_much_for_a_chart_is_said_and_offered_as_a_file(
    tenant: Tenant, owner: Client, home: str, monkeypatch: Any
) -> None:
    monkeypatch.setattr(selectors, "MOST_POINTS", 2)
    for number in range(3):
        use(tenant, Meter.INGEST, 1, f"user-{number}")
    text = text_of(owner, f"{home}usage/?by=end_user", 422)
    assert "too much for one chart" in text
    assert "usage/csv/?by=end_user" in text
    assert len(rows_of(owner, f"{home}usage/csv/?by=end_user")) == 3


def test_hours_and_months_are_drawn_too(tenant: Tenant, owner: Client, home: str) -> None:
    use(tenant, Meter.INGEST, 3)
    today = timezone.now().date()
    assert "Calls by hour" in text_of(owner, f"{home}usage/?grain=hour&since={today}&until={today}")
    text = text_of(owner, f"{home}usage/?grain=month&since={today - timedelta(days=300)}")
    assert "Calls by month" in text
    assert f"{datetime.now(UTC):%B %Y}: 3 turns ingested" in text


def test_the_part_that_changes_comes_alone_when_asked_so(owner: Client, home: str) -> None:
    text = owner.get(f"{home}usage/", headers={"HX-Request": "true"}).content.decode()
    assert "<html" not in text
    assert "In total" in text


def sampled(tenant: Tenant, meter: Meter, *quantities: int, project_id: Any = None) -> None:
    """Daily samples, the last one today."""
    today = timezone.now().replace(minute=0, second=0, microsecond=0)
    with scope(tenant.organization):
        for back, quantity in enumerate(reversed(quantities)):
            UsageHour.objects.create(
                project_id=project_id or tenant.project.pk,
                key_id=None,
                meter=meter,
                hour=today - timedelta(days=back),
                quantity=quantity,
                events=1,
            )


def test_what_is_sampled_has_daily_points_in_its_own_unit(tenant: Tenant, owner: Client, home: str) -> None:
    since = timezone.now().date() - timedelta(days=5)
    sampled(tenant, Meter.STORED_BYTES, 1_000_000_000, 3_000_000_000)
    sampled(tenant, Meter.END_USER, 40, 60, 50)
    sampled(tenant, Meter.SEAT, 7, project_id=UUID(int=0))
    text = text_of(owner, f"{home}usage/?what=stored_bytes&since={since}")
    for words in ("<dt>Latest</dt><dd>3 GB</dd>", "<dt>On average</dt><dd>2 GB</dd>", "3 GB stored bytes", "As of"):
        assert words in text
    text = text_of(owner, f"{home}usage/?what=active_end_user&since={since}")
    for words in ("<dt>Latest</dt><dd>50</dd>", "<dt>Highest day</dt><dd>60</dd>", "sampled once a day"):
        assert words in text
    assert "No project" in text_of(owner, f"{home}usage/?what=seat&by=project&since={since}")


def test_samples_of_projects_are_stacked_and_their_file_says_the_same(tenant: Tenant, owner: Client, home: str) -> None:
    with scope(tenant.organization):
        other = Project.objects.create(name="Other", slug="other")
    sampled(tenant, Meter.STORED_BYTES, 2_000_000, 4_000_000)
    sampled(tenant, Meter.STORED_BYTES, 500_000, 500_000, project_id=other.pk)
    query = f"?what=stored_bytes&by=project&since={timezone.now().date() - timedelta(days=3)}"
    text = text_of(owner, f"{home}usage/{query}")
    assert "4 MB default, 500 kB other" in text
    rows = rows_of(owner, f"{home}usage/csv/{query}")
    assert [int(row["quantity"]) for row in rows if row["project"] == "Other"] == [500_000, 500_000]
    assert {int(row["quantity"]) for row in rows} == {2_000_000, 4_000_000, 500_000}


def test_a_month_of_samples_is_their_average_in_the_file_too(tenant: Tenant, owner: Client, home: str) -> None:
    with scope(tenant.organization):
        for day, quantity in ((2, 100), (3, 300)):
            hour = datetime(2026, 3, day, 5, tzinfo=UTC)
            UsageHour.objects.create(
                project_id=tenant.project.pk, meter=Meter.STORED_BYTES, hour=hour, quantity=quantity, events=1
            )
    query = "what=stored_bytes&grain=month&since=2026-03-01&until=2026-03-31"
    assert "<dt>Latest</dt><dd>200 B</dd>" in text_of(owner, f"{home}usage/?{query}")
    assert [row["quantity"] for row in rows_of(owner, f"{home}usage/csv/?{query}")] == ["200"]


def test_a_viewer_sees_usage(viewer: Client, home: str) -> None:
    assert "In total" in text_of(viewer, f"{home}usage/")


def test_another_organizations_usage_is_never_seen(tenant: Tenant, stranger: Tenant, owner: Client, home: str) -> None:
    use(stranger, Meter.INGEST, 987)
    assert "987" not in text_of(owner, f"{home}usage/")
    assert owner.get(f"/o/{stranger.organization.slug}/usage/csv/").status_code == 404


def test_more_projects_and_end_users_cost_no_more_queries(tenant: Tenant, owner: Client, home: str) -> None:
    use(tenant, Meter.INGEST, 1, "first")
    few = {by: queries(owner, f"{home}usage/?by={by}") for by in ("project", "key", "end_user")}
    with scope(tenant.organization):
        some = [Project.objects.create(name=f"P {n}", slug=f"p-{n}") for n in range(8)]
    for one in some:
        use(tenant, Meter.INGEST, 1, one.slug, project_id=one.pk)
    assert {by: queries(owner, f"{home}usage/?by={by}") for by in few} == few
