"""/v1/usage/events: the rows behind the sums."""

from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from django.utils import timezone

from tests.capsule_cloud.api.client import Api
from tests.factories import Tenant

TURN = {"user_message": "I moved to Lisbon", "assistant_response": "Noted"}


def ingest(api: Api, *end_users: str) -> list[str]:
    """The ids of the events, as the receipts say."""
    answers = [api.post(f"/api/v1/sessions/of-{name}/ingest", TURN | {"user_id": name}) for name in end_users]
    return [answer.headers["X-Usage-Event"] for answer in answers]


def page(api: Api, **query: Any) -> Any:
    return api.get(f"/v1/usage/events?{urlencode(query)}").json()


def test_an_event_says_what_its_receipt_said(api: Api) -> None:
    [receipt] = ingest(api, "ada")
    [event] = page(api)["data"]
    assert (event["id"], event["meter"], event["quantity"], event["end_user"]) == (receipt, "ingest", 1, "ada")
    assert (event["project_id"], event["key_id"]) == (str(api.tenant.project.pk), str(api.tenant.key.pk))


def test_events_come_in_pages_that_meet(api: Api) -> None:
    receipts = ingest(api, "ada", "bob", "eve")
    first = page(api, limit=2)
    rest = page(api, limit=2, cursor=first["next_cursor"])
    assert [event["id"] for event in first["data"] + rest["data"]] == receipts
    assert (len(first["data"]), rest["next_cursor"]) == (2, None)


def test_events_are_filtered(api: Api) -> None:
    adas, bobs = ingest(api, "ada", "bob")
    api.post("/api/v1/sessions/of-ada/seal")

    def found(**query: Any) -> list[str]:
        return [event["id"] for event in page(api, **query)["data"]]

    assert found(end_user="bob") == [bobs]
    assert found(meter="ingest") == [adas, bobs]
    assert len(found(meter="seal", end_user="ada")) == 1
    assert len(found(project_id=api.tenant.project.pk)) == len(found(key_id=api.tenant.key.pk)) == 3
    assert found(project_id=api.tenant.key.pk) == found(key_id=api.tenant.project.pk) == []
    now = timezone.now()
    assert found(until=(now - timedelta(hours=1)).isoformat()) == []
    assert found(since=(now + timedelta(hours=1)).isoformat(), until=(now + timedelta(hours=2)).isoformat()) == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"meter": "electricity"}, "meter"),
        ({"since": "yesterday"}, "since"),
        ({"key_id": "k"}, "key_id"),
        ({"limit": "0"}, "limit"),
        ({"since": "2026-01-01T00:00:00Z", "until": "2026-03-01T00:00:00Z"}, "since"),
        ({"since": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z"}, "since"),
        ({"until": "0001-01-01T00:00:00Z"}, "until"),
    ],
)
def test_a_wrong_question_about_events_is_named(api: Api, query: dict[str, str], field: str) -> None:
    answer = api.get(f"/v1/usage/events?{urlencode(query)}")
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)


def test_a_cursor_of_nobodys_is_refused(api: Api) -> None:
    assert page(api, cursor="%00")["code"] == "invalid_cursor"


def test_a_stranger_sees_no_event(api: Api, stranger: Tenant) -> None:
    ingest(api, "ada")
    assert page(Api(stranger), project_id=api.tenant.project.pk)["data"] == []
