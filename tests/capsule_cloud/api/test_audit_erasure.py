"""Erasing a person from the trail by key: once, for good, and by nobody but an owner's key."""

import uuid
from typing import Any

import pytest

from tenancy.audit import actions
from tenancy.audit.models import AuditEvent, AuditIdentifier
from tenancy.audit.services import Actor, Context, Target, context, record
from tenancy.roles import RIGHTS, KeyScope, Right, Role
from tenancy.scope import scope
from tests.capsule_cloud.api.client import Api
from tests.factories import Tenant, make_tenant
from tests.sealing import seal_all
from tests.tenancy.audit.sealing.made_exports import verifier
from tests.trail import audited

ERASURES = "/v1/audit/erasures"
EVE = "eve+1@example.com"


@pytest.fixture
def api(tenant: Tenant) -> Api:
    """The API, called with a key that an owner made."""
    return Api(tenant)


@pytest.fixture
def eve(tenant: Tenant) -> str:
    """The id of a member whom the trail knows by name, address and program."""
    gone = str(uuid.uuid4())
    with scope(tenant.organization), context(Context("r", "203.0.113.9", "Eve's browser")):
        record(action=actions.PROJECT_UPDATED, actor=Actor("user", gone, EVE), target=Target("project", "p", "P"))
    return gone


def wish(subject_id: str, **other: Any) -> dict[str, Any]:
    return {"kind": "user", "subject_id": subject_id, "reason": "Request 4711"} | other


def test_a_person_is_erased_and_their_events_still_prove_what_they_did(api: Api, tenant: Tenant, eve: str) -> None:
    seal_all()
    [before] = api.get(f"/v1/audit/events?actor={eve}").json()["data"]
    assert (before["actor"]["label"], before["context"]["ip"]) == (EVE, "203.0.113.9")
    answer = api.post(ERASURES, wish(eve))
    assert (answer.status_code, answer.json()) == (201, {"kind": "user", "erased": 3})
    [after] = api.get(f"/v1/audit/events?actor={eve}").json()["data"]
    assert after["actor"]["label"] == after["context"]["ip"] == after["context"]["user_agent"] == "erased person"
    assert EVE not in api.get("/v1/audit/events").content.decode()
    published = verifier.Keys(api.client.get("/.well-known/audit-keys.json").json())
    proof = api.get(f"/v1/audit/events/{before['id']}/proof").json()
    assert list(verifier.wrong_event(proof["event"].encode(), proof["proof"], published)) == []
    with scope(tenant.organization):
        assert not AuditIdentifier.objects.filter(value=EVE).exists()
        [told] = audited(actions.PERSON_ERASED.name)
    assert (told.actor["kind"], told.reason) == ("api_key", "Request 4711")
    assert (told.target["kind"], told.target["id"], told.metadata) == (
        "erased_person",
        eve,
        {"kind": "user", "erased": 3},
    )


def test_the_same_request_again_erases_once_and_gets_the_same_answer(api: Api, tenant: Tenant, eve: str) -> None:
    first, second = (api.post(ERASURES, wish(eve), Idempotency_Key="forget-eve") for _ in range(2))
    assert (first.status_code, first.content) == (201, second.content)
    assert second.headers["Idempotent-Replayed"] == "true"
    with scope(tenant.organization):
        assert len(audited(actions.PERSON_ERASED.name)) == 1
    again = api.post(ERASURES, wish(eve))
    assert (again.status_code, again.headers["Content-Type"]) == (404, "application/problem+json")
    assert again.json()["code"] == "not_found"


def test_an_end_user_is_erased_by_the_customer_s_own_id_which_nothing_repeats(api: Api, tenant: Tenant) -> None:
    named = " Eve <eve@example.com> " + "x" * 232
    assert len(named) == 255, "as long as an id may be, and with spaces around that belong to it"
    with scope(tenant.organization):
        record(action=actions.PROJECT_UPDATED, actor=tenant.actor, target=Target("end_user", named, named))
    answer = api.post(ERASURES, wish(named, kind="end_user"))
    assert answer.status_code == 201
    assert "eve@" not in answer.content.decode()
    with scope(tenant.organization):
        [told] = audited(actions.PERSON_ERASED.name)
        assert told.target["id"] == ""
        assert not any("eve@" in body for body in AuditEvent.objects.values_list("body", flat=True))
        assert not AuditIdentifier.objects.filter(value__contains="eve@").exists()


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"kind": "api_key"}, "kind"),
        ({"kind": "staff"}, "kind"),
        ({"subject_id": ""}, "subject_id"),
        ({"subject_id": "x" * 256}, "subject_id"),
        ({"subject_id": "a\0b"}, "subject_id"),
        ({"reason": " "}, "reason"),
        ({"reason": "x" * 201}, "reason"),
    ],
)
def test_what_cannot_be_is_refused_with_its_field_and_erases_nobody(
    api: Api, tenant: Tenant, eve: str, change: dict[str, str], field: str
) -> None:
    answer = api.post(ERASURES, wish(eve) | change)
    assert (answer.status_code, answer.headers["Content-Type"]) == (422, "application/problem+json")
    assert field in answer.content.decode()
    with scope(tenant.organization):
        assert AuditIdentifier.objects.filter(value=EVE).exists()


def test_a_person_of_another_organization_is_not_there(eve: str, stranger: Tenant) -> None:
    assert Api(stranger).post(ERASURES, wish(eve)).status_code == 404


def test_who_may_read_and_export_the_trail_may_not_erase_from_it(eve: str) -> None:
    rest = Api(make_tenant([one for one in KeyScope if one is not KeyScope.AUDIT_ERASE]))
    answer = rest.post(ERASURES, wish(eve))
    assert (answer.status_code, answer.json()["code"]) == (403, "missing_scope")
    assert [role for role in Role if Right.AUDIT_ERASE in RIGHTS[role]] == [Role.OWNER]
