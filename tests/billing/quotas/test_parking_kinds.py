"""Every write of an end user who is one too many is kept where parking was chosen, and happens once there is room."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from billing.metering.meters import Meter
from billing.metering.models import UsageEvent
from billing.quotas import applying
from billing.quotas.end_users import end_users
from billing.quotas.models import ParkedWrite
from capsule_cloud.memory.models import Capsule, Session
from capsule_cloud.memory.services import capsules, sessions, skills
from tenancy.scope import scope
from tests.billing.quotas.test_end_users import room
from tests.factories import Tenant


@pytest.fixture(autouse=True)
def _nobody_known() -> None:
    end_users.forget()


class Api:
    """The tenant's key at work."""

    def __init__(self, tenant: Tenant) -> None:
        self.http = Client(headers=tenant.headers, raise_request_exception=False)

    def send(self, method: str, path: str, **body: Any) -> Any:
        """A JSON request below /api/v1."""
        return self.http.generic(method, f"/api/v1/{path}", json.dumps(body), content_type="application/json")

    def tool(self, name: str, **arguments: Any) -> tuple[Any, bool]:
        """What an MCP tool answers, and whether it is an error."""
        params = {"name": name, "arguments": arguments}
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        result = self.http.post("/mcp", message, content_type="application/json").json()["result"]
        return json.loads(result["content"][0]["text"]), result["isError"]


@pytest.fixture
def api(tenant: Tenant) -> Api:
    """A key of an organization in which ann is the one end user that there is room for."""
    room(tenant, 1, "park")
    made = Api(tenant)
    assert made.send("POST", "sessions?user_id=ann").status_code == 200
    return made


def remember(tenant: Tenant, user: str, name: str = "Tea") -> str:
    """A capsule of an end user, made when nobody was counted."""
    with scope(tenant.organization):
        made = skills.create_skill(
            project_id=tenant.project.pk,
            user_id=user,
            description="Steep it for three minutes.",
            name=name,
            actor=tenant.actor,
        )
    return made.capsule_id


def waits(answer: Any) -> dict[str, Any]:
    """What a kept write answers."""
    assert answer.status_code == 202, answer.content
    said: dict[str, Any] = answer.json()
    assert said["is_parked"], said
    assert "X-Usage-Event" not in answer.headers, "nothing is counted yet"
    return said


def written(tenant: Tenant, user: str = "bob") -> int:
    """How many writes of an end user were counted."""
    with scope(tenant.organization):
        return UsageEvent.objects.filter(meter=Meter.WRITE, end_user=user).count()


def test_an_opened_session_waits_with_its_id(tenant: Tenant, api: Api) -> None:
    said = waits(api.send("POST", "sessions?user_id=bob"))
    assert (said["session_id"][:5], said["user_id"]) == ("sess_", "bob")
    named = waits(api.send("POST", "sessions?user_id=bob&session_id=monday"))
    turn = waits(api.send("POST", "sessions/monday/ingest", user_message="Tea?", assistant_response="Tea."))
    assert turn["session_id"] == "monday", "it is bob's, whoever sends to it"
    assert api.send("POST", "sessions?user_id=cid&session_id=monday").status_code == 409
    assert (applying.apply_due(), written(tenant)) == (0, 0)
    with scope(tenant.organization):
        assert not Session.objects.filter(user_id="bob").exists()
    room(tenant, 2, "park")
    assert (applying.apply_due(), applying.apply_due(), written(tenant)) == (3, 0, 2)
    with scope(tenant.organization):
        ids = set(Session.objects.filter(user_id="bob").values_list("external_id", flat=True))
        outcome = ParkedWrite.objects.get(pk=named["parked_id"]).outcome
    assert ids == {said["session_id"], "monday"}
    assert outcome == {"session_id": "monday"}
    assert api.send("POST", "sessions?user_id=bob&session_id=monday").status_code == 200


def test_a_repeated_request_waits_once(tenant: Tenant, api: Api) -> None:
    with_key: Any = {"headers": {"Idempotency-Key": "once"}}
    answers = [api.http.post("/api/v1/sessions?user_id=bob", **with_key) for _ in range(2)]
    assert [one.status_code for one in answers] == [202, 202]
    assert answers[0].json() == answers[1].json()
    with scope(tenant.organization):
        assert ParkedWrite.objects.count() == 1


def test_a_copy_for_a_new_end_user_waits_and_is_made_once(tenant: Tenant, api: Api) -> None:
    source = remember(tenant, "ann")
    said = waits(api.send("POST", f"capsules/{source}/fork", new_user_id="bob", tags=["x"]))
    assert (said["capsule_id"], said["title"], said["user_id"]) == ("", "Tea", "bob")
    assert api.send("POST", "capsules/nothing/fork", new_user_id="bob").status_code == 404
    assert api.send("POST", f"capsules/{source}/fork", new_user_id="ann").status_code == 200
    room(tenant, 2, "park")
    assert (applying.apply_due(), applying.apply_due(), written(tenant)) == (1, 0, 1)
    with scope(tenant.organization):
        copy = Capsule.objects.get(user_id="bob")
        write = ParkedWrite.objects.get()
    assert (write.outcome, copy.title, "x" in copy.tags) == ({"capsule_id": copy.capsule_id}, "Tea", True)


def test_a_copy_of_what_was_deleted_meanwhile_is_set_aside(tenant: Tenant, api: Api) -> None:
    source = remember(tenant, "ann")
    waits(api.send("POST", f"capsules/{source}/fork", new_user_id="bob"))
    with scope(tenant.organization):
        capsules.delete_capsule(project_id=tenant.project.pk, capsule_id=source, actor=tenant.actor)
    room(tenant, 2, "park")
    applying.apply_due()
    with scope(tenant.organization):
        write = ParkedWrite.objects.get()
    assert (write.state, source in write.error, written(tenant)) == ("failed", True, 0)


def test_what_changes_capsules_of_an_end_user_who_is_not_in_waits_in_order(tenant: Tenant, api: Api) -> None:
    one, two = remember(tenant, "bob", "One"), remember(tenant, "bob", "Two")
    end = timezone.now() + timedelta(days=9)
    merged = waits(api.send("POST", "capsules/merge", capsule_ids=[one, two], title="Both"))
    assert (merged["capsule_id"], merged["title"], merged["turn_count"]) == ("", "Both", 0)
    for answer in (
        api.send("PUT", f"capsules/{one}/pin"),
        api.send("DELETE", f"capsules/{one}/pin"),
        api.send("PUT", f"capsules/{one}/expiry", expires_at=end.isoformat()),
        api.send("PUT", f"capsules/{two}/tags", tags=["green"]),
        api.send("PUT", f"capsules/{two}/expiry", expires_at=None),
        api.send("PUT", f"capsules/{two}/pin"),
    ):
        assert waits(answer)["user_id"] == "bob"
    assert api.send("POST", "capsules/merge", capsule_ids=[one, "nothing"]).status_code == 400
    room(tenant, 2, "park")
    assert (applying.apply_due(), written(tenant)) == (7, 7)
    with scope(tenant.organization):
        first, second = (Capsule.objects.get(capsule_id=which) for which in (one, two))
        assert Capsule.objects.filter(user_id="bob", title="Both").count() == 1
    assert (first.is_pinned, first.expires_at) == (False, end)
    assert (second.is_pinned, second.tags, second.expires_at) == (True, ["green"], None)


def test_where_nothing_is_kept_each_is_refused(tenant: Tenant, api: Api) -> None:
    source = remember(tenant, "bob")
    room(tenant, 1, "stop")
    for answer in (
        api.send("POST", "sessions?user_id=bob"),
        api.send("POST", f"capsules/{source}/fork", new_user_id="bob"),
        api.send("PUT", f"capsules/{source}/pin"),
    ):
        assert (answer.status_code, answer.headers["X-Error-Code"]) == (402, "quota_reached")
    with scope(tenant.organization):
        assert not ParkedWrite.objects.exists()
        assert not Capsule.objects.filter(is_pinned=True).exists(), "it was undone"


def test_assistants_fill_and_seal_one_session_while_everything_waits(tenant: Tenant, api: Api) -> None:
    turn = {"user_message": "I like tea.", "assistant_response": "Noted.", "user_id": "bob"}
    ingested = [api.tool("capsule_ingest", **turn)[0] for _ in range(2)]
    assert ingested[0]["session_id"] == ingested[1]["session_id"]
    sealed, is_error = api.tool("capsule_seal", user_id="bob", title="Tea")
    assert (is_error, sealed["is_parked"]) == (False, True)
    assert api.tool("capsule_seal", user_id="bob")[1], "there is no open one"
    after = api.tool("capsule_ingest", **turn)[0]
    assert after["session_id"] != ingested[0]["session_id"], "that one will be sealed"
    assert api.send("POST", f"sessions/{ingested[0]['session_id']}/ingest", **turn).status_code == 409
    skill, is_error = api.tool("capsule_extract_skill", skill_description="Steep it.", user_id="bob")
    assert (is_error, skill["skill_capsule_id"], skill["skill_name"]) == (False, "", "Steep it.")
    room(tenant, 2, "park")
    assert applying.apply_due() == 5
    with scope(tenant.organization):
        assert set(Capsule.objects.filter(user_id="bob").values_list("title", flat=True)) == {"Tea", "Steep it."}
        assert not ParkedWrite.objects.exclude(state="applied").exists()
    assert api.tool("capsule_ingest", **turn)[0]["session_id"] == after["session_id"]


def test_a_seal_that_waits_leaves_the_end_user_s_other_open_session(tenant: Tenant, api: Api) -> None:
    with scope(tenant.organization):
        for name in ("older", "newer"):
            sessions.open_session(project_id=tenant.project.pk, user_id="bob", session_id=name, actor=tenant.actor)
    waits(api.send("POST", "sessions/newer/seal", title="Tea"))
    turn = {"user_message": "I like tea.", "assistant_response": "Noted.", "user_id": "bob"}
    assert api.tool("capsule_ingest", **turn)[0]["session_id"] == "older"
