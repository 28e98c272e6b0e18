"""Every call of the data plane is counted once, and /v1/usage and /v1/audit/events tell."""

from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.utils import timezone

from billing.metering import selectors, services
from billing.metering.models import UsageEvent
from tenancy.scope import scope
from tests.capsule_cloud.api.client import Api
from tests.factories import Tenant, make_tenant

TURN = {"user_message": "I moved to Lisbon", "assistant_response": "Noted", "user_id": "ada"}


@pytest.fixture
def committed(transactional_db: None) -> Api:
    """A tenant whose reads the shipper can store."""
    return Api(make_tenant())


def counted(api: Api) -> dict[str, int]:
    services.ship()
    with scope(api.tenant.organization):
        events = list(UsageEvent.objects.all())
    assert {event.project_id for event in events} <= {api.tenant.project.pk}
    assert {event.key_id for event in events} <= {api.tenant.key.pk}
    totals: dict[str, int] = {}
    for event in events:
        totals[event.meter] = totals.get(event.meter, 0) + event.quantity
    return totals


def test_every_call_is_counted_once_under_its_meter(committed: Api) -> None:
    api = committed
    api.post("/api/v1/sessions?session_id=s&user_id=ada")  # write
    api.post("/api/v1/sessions/s/ingest", TURN)
    api.post("/api/v1/sessions/s/ingest", {"turns": [TURN, TURN], "user_id": "ada"})
    api.get("/api/v1/sessions/s/snapshot")  # read
    api.get("/api/v1/sessions/s/triggers")  # read
    api.get("/api/v1/capsules/pending-triggers?user_id=ada")  # read
    capsule = api.post("/api/v1/sessions/s/seal").json()["capsule_id"]
    path = f"/api/v1/capsules/{capsule}"
    api.get("/api/v1/capsules")  # read
    api.get(path)  # read
    api.get(f"{path}/prompt-snippet")  # read
    api.get("/api/v1/recall?query=Lisbon&user_id=ada")
    exported = api.get(f"{path}/export")
    fork = api.post(f"{path}/fork", {"new_user_id": "bob"}).json()["capsule_id"]  # write
    api.get(f"{path}/diff/{fork}")  # read
    api("PUT", f"{path}/pin")  # write
    api.delete(f"{path}/pin")  # write
    api("PUT", f"{path}/tags", {"tags": ["home"]})  # write
    api("PUT", f"{path}/expiry", {"expires_at": None})  # write
    form = {"file": SimpleUploadedFile("c.json", exported.content), "user_id": "ada"}
    api.client.post("/api/v1/capsules/import", form, headers=api.tenant.headers)
    api.get("/api/v1/users")  # read
    api.delete(f"/api/v1/capsules/{fork}")
    api.delete("/api/v1/users/ada")
    assert counted(api) == {
        "write": 6,
        "ingest": 3,
        "read": 8,
        "seal": 1,
        "recall": 1,
        "export": 1,
        "import": 1,
        "delete": 2,
    }


def test_turns_and_seals_are_counted_for_the_sessions_owner_whoever_sends_them(api: Api) -> None:
    unnamed = {name: value for name, value in TURN.items() if name != "user_id"}
    api.post("/api/v1/sessions?session_id=adas&user_id=ada")
    api.post("/api/v1/sessions/adas/ingest", unnamed)
    api.post("/api/v1/sessions/adas/ingest", {"turns": [unnamed, unnamed]})
    api.post("/api/v1/sessions/new/ingest", unnamed)
    api.post("/api/v1/sessions/bobs/ingest", TURN | {"user_id": "bob"}, Idempotency_Key="bobs")
    api.post("/api/v1/sessions/bobs/seal")
    with scope(api.tenant.organization):
        events = UsageEvent.objects.filter(meter__in=["ingest", "seal"]).order_by("id")
        counted = [(event.end_user, event.quantity) for event in events]
    assert counted == [("ada", 1), ("ada", 2), ("default", 1), ("bob", 1), ("bob", 1)]


def test_a_refused_call_is_not_counted(committed: Api) -> None:
    api = committed
    api.post("/api/v1/sessions/s/ingest", {"user_message": ""})
    api.post("/api/v1/sessions/none/seal")
    api.get("/api/v1/capsules/none")
    api.get("/api/v1/recall")
    api.delete("/api/v1/capsules/none")
    assert counted(api) == {}


def test_a_replayed_request_is_not_counted_again(committed: Api) -> None:
    for _ in range(3):
        committed.post("/api/v1/sessions/s/ingest", TURN, Idempotency_Key="one")
    assert counted(committed) == {"ingest": 1}


def usage(api: Api, **query: Any) -> Any:
    return api.get(f"/v1/usage?{urlencode(query)}").json()


def test_usage_is_summed_by_time_and_group(api: Api) -> None:
    for _ in range(2):
        api.post("/api/v1/sessions/s/ingest", TURN)
    api.post("/api/v1/sessions/s/seal")
    day = usage(api)
    assert {point["meter"]: point["quantity"] for point in day["data"]} == {"ingest": 2, "seal": 1}
    assert day["as_of"]
    hour = usage(api, grain="hour", group_by="project,key", meter="ingest")
    [point] = hour["data"]
    assert point["quantity"] == 2
    assert (point["project_id"], point["key_id"]) == (str(api.tenant.project.pk), str(api.tenant.key.pk))
    assert point["at"].endswith(":00:00Z")
    assert usage(api, key_id=str(api.tenant.project.pk))["data"] == []


def test_usage_is_told_by_end_user(api: Api) -> None:
    for end_user in ("ada", "bob", "bob"):
        api.post(f"/api/v1/sessions/of-{end_user}/ingest", TURN | {"user_id": end_user})
    points = usage(api, group_by="end_user")["data"]
    assert {point["end_user"]: point["quantity"] for point in points} == {"ada": 1, "bob": 2}
    [point] = usage(api, end_user="bob")["data"]
    assert (point["meter"], point["quantity"]) == ("ingest", 2)


def test_an_answer_without_end_is_refused(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selectors, "MOST_POINTS", 1)
    for end_user in ("ada", "bob"):
        api.post(f"/api/v1/sessions/of-{end_user}/ingest", TURN | {"user_id": end_user})
    answer = api.get("/v1/usage?group_by=end_user")
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "group_by")


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"grain": "year"}, "grain"),
        ({"group_by": "meter,colour"}, "group_by"),
        ({"since": "yesterday"}, "since"),
        ({"project_id": "p"}, "project_id"),
        ({"meter": "electricity"}, "meter"),
        ({"since": "2026-01-01T00:00:00Z", "until": "2025-01-01T00:00:00Z"}, "since"),
        ({"since": "2020-01-01T00:00:00Z", "until": "2026-01-01T00:00:00Z", "grain": "hour"}, "since"),
        ({"until": "0001-01-01T00:00:00Z", "since": "9999-12-31T23:59:59Z"}, "since"),
    ],
)
def test_a_wrong_question_is_named(api: Api, query: dict[str, str], field: str) -> None:
    answer = api.get(f"/v1/usage?{urlencode(query)}")
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)


def test_the_ends_of_time_are_no_server_error(api: Api) -> None:
    for until in ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00+14:00"):
        assert api.get(f"/v1/usage?{urlencode({'until': until})}").status_code in {200, 422}


def test_a_stranger_sees_none_of_it(api: Api, stranger: Tenant) -> None:
    api.post("/api/v1/sessions/s/ingest", TURN)
    assert usage(Api(stranger))["data"] == []
    query = urlencode({"project_id": str(api.tenant.project.pk)})
    assert Api(stranger).get(f"/v1/usage?{query}").json()["data"] == []


def test_audit_events_are_paged_and_filtered(api: Api) -> None:
    for n in range(3):
        api.patch("/v1/organization", {"name": f"Name {n}"})
    first = api.get("/v1/audit/events?action=organization.updated&limit=2").json()
    assert [event["changes"]["name"][1] for event in first["data"]] == ["Name 2", "Name 1"]
    rest = api.get(f"/v1/audit/events?action=organization.updated&limit=2&cursor={first['next_cursor']}").json()
    assert ([event["changes"]["name"][1] for event in rest["data"]], rest["next_cursor"]) == (["Name 0"], None)
    hour_ago = (timezone.now() - timedelta(hours=1)).isoformat()
    assert api.get(f"/v1/audit/events?{urlencode({'until': hour_ago})}").json()["data"] == []
    by_actor = api.get(f"/v1/audit/events?{urlencode({'actor': api.tenant.key.pk})}").json()["data"]
    assert [event["action"] for event in by_actor] == ["audit.read", *["organization.updated"] * 3]
    assert api.get("/v1/audit/events?actor=%00").status_code == 422


def test_a_strangers_events_are_not_there(api: Api, stranger: Tenant) -> None:
    api.patch("/v1/organization", {"name": "Mine"})
    assert "Mine" not in Api(stranger).get("/v1/audit/events").content.decode()
