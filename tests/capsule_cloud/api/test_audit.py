"""Searching the trail by API: the same filters, single events, and searches that are kept."""

import json
import uuid

import pytest

from tenancy.audit import actions, selectors
from tenancy.audit.services import Actor, Context, Target, context, record
from tenancy.scope import scope
from tests.capsule_cloud.api.client import Api
from tests.factories import Tenant
from tests.sealing import seal_all


@pytest.fixture
def api(tenant: Tenant) -> Api:
    with scope(tenant.organization), context(Context("r", "203.0.113.7", "curl/8", "51d0")):
        record(
            action=actions.STAFF_LOOKED,
            actor=Actor("staff", str(uuid.uuid4()), "Grace"),
            target=Target("page", "x", "Members"),
            reason="ticket 4711",
        )
    return Api(tenant)


@pytest.mark.parametrize(
    "query",
    ["actor=grace", "action=staff,access", "ip=203.0.113.", "text=TICKET", "is_staff=true", "target=members&text=curl"],
)
def test_each_filter_finds_the_event(api: Api, query: str) -> None:
    answer = api.get(f"/v1/audit/events?{query}").json()
    assert [one["action"] for one in answer["data"]] == ["staff.looked"]
    assert answer["data"][0]["reason"] == "ticket 4711"
    assert answer["data"][0]["context"]["session_id"] == "51d0"
    assert (answer["next_cursor"], answer["looked_back_to"]) == (None, None)


def test_the_cursor_goes_on_where_the_time_was_over(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selectors, "FIRST_LOOK", 1)
    monkeypatch.setattr(selectors, "LONGEST_LOOK", 1)
    monkeypatch.setattr(selectors, "BUDGET", 0.0)
    found, cursor = [], ""
    while True:
        answer = api.get(f"/v1/audit/events?text=ticket&cursor={cursor}").json()
        found += answer["data"]
        cursor = answer["next_cursor"]
        if cursor is None:
            break
        assert answer["looked_back_to"] is not None
    assert [one["action"] for one in found] == ["staff.looked"]


def test_one_event_has_its_bytes_its_place_and_its_ocsf_form(api: Api) -> None:
    [listed] = api.get("/v1/audit/events?is_staff=true").json()["data"]
    event = api.get(f"/v1/audit/events/{listed['id']}").json()
    assert event["index"] is None
    assert json.loads(event["body"])["id"] == listed["id"]
    assert event["ocsf"]["metadata"]["event_code"] == "staff.looked"
    assert {name: event[name] for name in listed} == listed
    seal_all()
    assert api.get(f"/v1/audit/events/{listed['id']}").json()["index"] >= 0
    assert api.get(f"/v1/audit/events/{uuid.uuid4()}").status_code == 404


def test_searches_are_kept_listed_and_deleted(api: Api) -> None:
    wish = {"name": "Staff", "filters": {"is_staff": "on"}}
    made = api.post("/v1/audit/views", wish)
    assert made.status_code == 201
    assert api.get("/v1/audit/views").json()["data"] == [made.json()]
    assert api.post("/v1/audit/views", wish | {"filters": {"colour": "red"}}).status_code == 422
    address = f"/v1/audit/views/{made.json()['id']}"
    assert api("DELETE", address, None).status_code == 204
    assert api("DELETE", address, None).status_code == 404
