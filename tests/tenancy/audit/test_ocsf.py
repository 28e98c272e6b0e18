"""Every action has its place in the Open Cybersecurity Schema Framework."""

from typing import Any

import pytest

from tenancy.audit import actions
from tenancy.audit.actions import CATALOGUE, Action
from tenancy.audit.models import AuditEvent
from tenancy.audit.ocsf import ACTIVITIES, CATEGORIES, CLASSES, ocsf
from tenancy.audit.services import Actor, Context, Target, context, record
from tenancy.scope import scope
from tests.factories import Tenant
from tests.tenancy.audit.test_catalogue import example

ADA = Actor("user", "u1", "ada@example.com")
# What OCSF 1.3 requires of an event of the class, beside what it requires of all
REQUIRED = {
    3001: {"user"},
    3002: {"user"},
    3004: {"entity"},
    3005: {"user", "privileges"},
    3006: {"group", "user"},
    6003: {"actor", "api", "src_endpoint"},
}
OF_ALL = {"activity_id", "category_uid", "class_uid", "metadata", "severity_id", "time", "type_uid"}


def told(tenant: Tenant, action: Action, target: Target | None = None, reason: str = "", **changes: Any) -> AuditEvent:
    """One event of the action with every field that it declares."""
    metadata, pairs = example(action)
    with context(Context("r1", "203.0.113.7", "curl/8", "s1")), scope(tenant.organization):
        return record(
            action=action,
            actor=ADA,
            target=target or Target("project", "p1", "Bot"),
            metadata=metadata,
            changes={**pairs, **changes},
            reason=reason,
        )


def test_every_action_is_an_event_of_its_class(tenant: Tenant) -> None:
    for action in CATALOGUE.values():
        event = told(tenant, action)
        said = ocsf(event)
        class_uid, activity_id = said["class_uid"], said["activity_id"]
        assert said.keys() >= OF_ALL | REQUIRED[class_uid], action.name
        assert said["class_name"] == CLASSES[class_uid]
        assert said["category_name"] == CATEGORIES[said["category_uid"]]
        assert said["category_uid"] == class_uid // 1000
        assert said["activity_name"] == ACTIVITIES[class_uid][activity_id]
        assert said["type_uid"] == class_uid * 100 + activity_id
        assert said["status"] == ("Failure" if action.is_failure else "Success")
        assert 1 <= said["severity_id"] <= 5
        assert said["metadata"]["uid"] == str(event.pk)
        assert said["metadata"]["event_code"] == action.name
        assert said["unmapped"]["metadata"] == event.metadata
        assert said["unmapped"].get("changes", {}) == event.changes


def test_an_event_says_when_by_whom_and_from_where(tenant: Tenant) -> None:
    event = told(tenant, actions.PROJECT_UPDATED, reason="asked for")
    said = ocsf(event)
    assert said["time"] == int(event.occurred_at.timestamp() * 1000)
    assert said["actor"]["user"] == {"uid": "u1", "name": "ada@example.com", "type_id": 1, "type": "User"}
    assert said["actor"]["session"] == {"uid": "s1"}
    assert said["src_endpoint"] == {"ip": "203.0.113.7"}
    assert said["http_request"] == {"user_agent": "curl/8", "uid": "r1"}
    assert said["entity"] == {"uid": "p1", "name": "Bot", "type": "project"}
    assert said["comment"] == said["unmapped"]["reason"] == "asked for"
    assert said["metadata"]["tenant_uid"] == str(tenant.organization.pk)


def test_what_the_system_does_comes_from_within(tenant: Tenant) -> None:
    with scope(tenant.organization):
        said = ocsf(record(action=actions.CONTRACT_BEGUN, actor=ADA, target=Target("contract", "c1", "C")))
    assert said["src_endpoint"] == {"name": "internal"}
    assert "http_request" not in said
    assert "session" not in said["actor"]


@pytest.mark.parametrize(("role", "privileges"), [("admin", ["admin"]), (None, [])])
def test_a_role_is_a_privilege_of_whoever_gets_it(tenant: Tenant, role: str | None, privileges: list[str]) -> None:
    bob = Target("user", "u2", "bob@example.com")
    said = ocsf(told(tenant, actions.MEMBER_ROLE_CHANGED, bob, role=["viewer", role]))
    assert (said["class_uid"], said["activity_id"]) == (3005, 1)
    assert (said["user"]["uid"], said["privileges"]) == ("u2", privileges)


def test_a_key_is_an_actor_of_another_type(tenant: Tenant) -> None:
    with scope(tenant.organization):
        said = ocsf(
            record(action=actions.CONTRACT_BEGUN, actor=tenant.principal.actor, target=Target("contract", "c1", "C"))
        )
    assert said["actor"]["user"]["type_id"] == 99


def test_an_action_that_has_left_the_catalogue_is_still_told(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    event = told(tenant, actions.MEMBER_REMOVED)
    monkeypatch.delitem(CATALOGUE, actions.MEMBER_REMOVED.name)
    said = ocsf(event)
    assert (said["type_uid"], said["message"]) == (300499, "organization.member.removed")
    assert said["unmapped"]["action_version"] is None
