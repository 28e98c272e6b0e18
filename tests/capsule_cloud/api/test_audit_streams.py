"""Streams by the API: what a program sees, what is never shown, and what is refused."""

from collections.abc import Iterator

import pytest

from tenancy.audit.streams import engine
from tenancy.scope import scope
from tenancy.webhooks import delivery
from tests.capsule_cloud.api.client import Api
from tests.sealing import seal_all
from tests.targets import Target, says

STREAMS = "/v1/audit/streams"


@pytest.fixture(autouse=True)
def _hang_up() -> Iterator[None]:
    """Leave no connection open to a server that is gone."""
    yield
    delivery.door().close()
    delivery.door.cache_clear()


def test_a_stream_is_made_sent_and_looked_after(api: Api) -> None:
    with Target() as target:
        made = api.post(STREAMS, {"name": "SIEM", "kind": "https", "options": {"url": target.url}})
        assert made.status_code == 201
        stream = made.json()
        assert stream["secret"].startswith("whsec_")
        path = f"{STREAMS}/{stream['id']}"
        shown = api.get(path).json()
        assert "secret" not in shown
        assert (shown["state"], shown["sent"]) == ("active", 0)
        seal_all()
        assert api.get(path).json()["behind"] > 0
        engine.deliver()
        shown = api.get(path).json()
        assert (shown["behind"], shown["seconds_behind"]) == (0, 0)
        [log] = api.get(f"{path}/deliveries").json()["data"]
        assert (log["has_arrived"], log["count"]) == (True, shown["sent"])
        assert api.get(f"{path}/deliveries?has_arrived=false").json()["data"] == []
        assert api.post(f"{path}/test").json()["has_arrived"] is True
        target.behaviour = says(500)
        assert api.post(f"{path}/test").json() | {"id": ""} == {
            **api.get(f"{path}/deliveries").json()["data"][0],
            "id": "",
        }
        seal_all()
        engine.deliver()
        assert api.get(path).json()["state"] == "failing"
    assert api.post(f"{path}/pause").json()["state"] == "paused"
    assert api.post(f"{path}/resume").json()["state"] == "active"
    assert api.post(f"{path}/replay", {"seq": 1}).json()["next_seq"] == 1
    assert api.post(f"{path}/rotate", {"overlap_seconds": 60}).json()["secret"] != stream["secret"]
    assert api.post(f"{path}/rotate", {}).status_code == 409
    assert api.patch(path, {"name": "Other"}).json()["name"] == "Other"
    assert [one["name"] for one in api.get(STREAMS).json()["data"]] == ["Other"]
    assert api.get(f"{path}/dead-letters").json()["data"] == []
    assert api.delete(path).status_code == 204
    assert api.get(path).status_code == 404


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": "X", "kind": "fax", "options": {}}, "kind"),
        ({"name": "X", "kind": "https", "options": {"url": "https://169.254.169.254/"}}, "url"),
        ({"name": "", "kind": "https", "options": {"url": "https://siem.example.com/"}}, "name"),
        ({"name": "X", "kind": "datadog", "options": {"url": "https://siem.example.com/"}}, "api_key"),
    ],
)
def test_what_cannot_be_is_refused_with_its_field(api: Api, body: dict[str, object], field: str) -> None:
    answer = api.post(STREAMS, body)
    assert answer.status_code == 422
    assert field in answer.content.decode()


def test_no_secret_is_ever_shown(api: Api) -> None:
    options = {"url": "https://splunk.example.com:8088/services/collector/event"}
    made = api.post(STREAMS, {"name": "S", "kind": "splunk", "options": options, "secrets": {"token": "very-hidden"}})
    assert made.status_code == 201
    assert made.json()["secret"] == ""
    for answer in (made, api.get(f"{STREAMS}/{made.json()['id']}"), api.get("/v1/audit/events")):
        assert "very-hidden" not in answer.content.decode()
    with scope(api.tenant.organization):
        assert api.post(f"{STREAMS}/{made.json()['id']}/rotate", {}).status_code == 409
