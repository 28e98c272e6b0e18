"""/v1/usage as a file: the same numbers, written while they are read, and nothing that a spreadsheet would run."""

import csv
import io
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import pytest

from billing.metering import selectors
from billing.metering.models import UsageHour
from tenancy.scope import scope
from tests.capsule_cloud.api.client import Api
from tests.factories import Tenant

TURN = {"user_message": "I moved to Lisbon", "assistant_response": "Noted"}


def ingest(api: Api, *end_users: str) -> None:
    for n, end_user in enumerate(end_users):
        assert api.post(f"/api/v1/sessions/{n}/ingest", TURN | {"user_id": end_user}).status_code == 200


def rows(answer: Any) -> list[dict[str, str]]:
    assert answer.status_code == 200, answer.content
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    return list(csv.DictReader(io.StringIO(answer.getvalue().decode())))


def file(api: Api, **query: str) -> list[dict[str, str]]:
    return rows(api.get(f"/v1/usage?{urlencode({'format': 'csv'} | query)}"))


def test_the_file_has_the_numbers_of_the_answer(api: Api) -> None:
    ingest(api, "ada", "bob")
    api.post("/api/v1/sessions/0/seal")
    points = api.get("/v1/usage").json()["data"]
    assert {row["meter"]: int(row["quantity"]) for row in file(api)} == {"ingest": 2, "seal": 1}
    assert {point["meter"]: point["quantity"] for point in points} == {"ingest": 2, "seal": 1}


def test_it_takes_the_same_filters_and_groups(api: Api) -> None:
    ingest(api, "ada", "bob", "bob")
    [row] = file(api, end_user="bob", group_by="project,meter", grain="hour", project_id=str(api.tenant.project.pk))
    assert (row["project"], row["meter"], row["quantity"]) == (api.tenant.project.name, "ingest", "2")
    assert row["hour_utc"].endswith(":00Z")
    assert file(api, meter="seal") == []
    assert file(api, key_id=str(api.tenant.project.pk)) == []


def test_a_client_that_accepts_csv_gets_a_file_and_one_that_accepts_nothing_of_ours_is_told(api: Api) -> None:
    ingest(api, "ada")
    answer = api.get("/v1/usage", Accept="text/csv")
    assert [row["quantity"] for row in rows(answer)] == ["1"]
    assert answer.headers["Content-Disposition"].startswith('attachment; filename="usage_as_of_')
    assert api.get("/v1/usage?format=csv", Accept="application/json").headers["Content-Type"].startswith("text/csv")
    assert api.get("/v1/usage?format=json", Accept="text/csv").json()["data"]
    refused = api.get("/v1/usage", Accept="image/png")
    assert (refused.status_code, refused.json()["code"]) == (406, "not_acceptable")


def test_a_gauge_in_the_file_is_combined_as_in_the_answer(api: Api) -> None:
    today = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    with scope(api.tenant.organization):
        for back, quantity in enumerate((400, 200)):
            UsageHour.objects.create(
                project_id=api.tenant.project.pk,
                meter="stored_bytes",
                hour=today - timedelta(days=back),
                quantity=quantity,
                events=1,
            )
    query = {"meter": "stored_bytes", "grain": "month", "since": f"{today - timedelta(days=40):%Y-%m-%d}T00:00:00Z"}
    answer = api.get(f"/v1/usage?{urlencode(query)}").json()["data"]
    assert [int(row["quantity"]) for row in file(api, **query)] == [point["quantity"] for point in answer]


def test_a_name_that_is_a_formula_is_text_in_the_file(api: Api) -> None:
    ingest(api, "=1+1")
    assert [row["end_user"] for row in file(api, group_by="end_user")] == ["'=1+1"]


def test_a_file_may_have_more_lines_than_an_answer_has_points(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selectors, "MOST_POINTS", 1)
    ingest(api, "ada", "bob")
    assert len(file(api, group_by="end_user")) == 2


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"format": "xlsx"}, "format"),
        ({"grain": "year"}, "grain"),
        ({"project_id": "p"}, "project_id"),
    ],
)
def test_a_wrong_question_is_named_as_json(api: Api, query: dict[str, str], field: str) -> None:
    answer = api.get(f"/v1/usage?{urlencode({'format': 'csv'} | query)}")
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)


def test_a_strangers_file_is_empty(api: Api, stranger: Tenant) -> None:
    ingest(api, "ada")
    assert file(Api(stranger), project_id=str(api.tenant.project.pk)) == []
