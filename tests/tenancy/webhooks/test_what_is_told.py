"""What people, keys and memories do reaches the endpoints: ids alone."""

from datetime import timedelta
from typing import Any

import orjson
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.utils import timezone

from capsule_cloud.memory.services import capsules
from tenancy.audit.services import Actor
from tenancy.models import Membership
from tenancy.roles import Role
from tenancy.scope import scope
from tenancy.services import invitations, keys, members, projects
from tenancy.webhooks.models import Delivery, Event
from tests.capsule_cloud.api.client import Api
from tests.capsule_cloud.memory.capsules_for_tests import memory, store
from tests.factories import Tenant, add_member, make_user
from tests.tenancy.webhooks.conftest import AddEndpoint

pytestmark = pytest.mark.usefixtures("endpoint")


@pytest.fixture
def endpoint(tenant: Tenant, add: AddEndpoint) -> None:
    """It wants everything."""
    add(tenant, "https://hooks.example.com/")


def told(tenant: Tenant) -> list[tuple[str, dict[str, Any]]]:
    with scope(tenant.organization):
        bodies = Delivery.objects.order_by("number").values_list("event__type", "event__body")
        return [(kind, orjson.loads(body)["data"]) for kind, body in bodies]


def test_members_are_told(tenant: Tenant) -> None:
    guest = make_user("Guest")
    with scope(tenant.organization):
        invitation = invitations.create(actor=tenant.actor, actor_role=Role.OWNER, email=guest.email, role="viewer")
    invitations.accept(user=guest, token=invitations.token_for(invitation))
    with scope(tenant.organization):
        members.remove(actor=tenant.actor, actor_role=Role.OWNER, user_id=guest.pk)
        assert Membership.objects.count() == 1
    data = {"user_id": str(guest.pk), "role": "viewer"}
    assert told(tenant) == [("organization.member.added", data), ("organization.member.removed", data)]


def test_keys_and_projects_are_told(tenant: Tenant) -> None:
    with scope(tenant.organization):
        maker = keys.Maker(tenant.actor, user=tenant.owner, role=Role.OWNER)
        project = projects.create(actor=tenant.actor, name="New")
        made = keys.create(maker=maker, project_id=project.pk, name="K", scopes=["memory:read"])
        keys.revoke(actor=tenant.actor, key_id=made.key.pk)
        projects.archive(actor=tenant.actor, project_id=project.pk)
    found = told(tenant)
    assert [kind for kind, _ in found] == [
        "organization.project.created",
        "organization.api_key.created",
        "organization.api_key.revoked",
        "organization.project.archived",
    ]
    assert found[1][1] == {"key_id": str(made.key.pk), "hint": made.key.hint, "scopes": ["memory:read"]}
    assert made.secret not in orjson.dumps(found).decode()


def test_memories_are_told_by_their_ids_alone(tenant: Tenant) -> None:
    api = Api(tenant)
    turn = {"user_id": "dana", "user_message": "The launch code is swordfish", "assistant_response": "Noted"}
    api.post("/api/v1/sessions/s-1/ingest", turn)
    capsule = api.post("/api/v1/sessions/s-1/seal").json()["capsule_id"]
    forked = api.post(f"/api/v1/capsules/{capsule}/fork", {"new_user_id": "bob"}).json()["capsule_id"]
    api.delete(f"/api/v1/capsules/{capsule}")
    with scope(tenant.organization):
        capsules.delete_user(project_id=tenant.project.pk, user_id="bob", actor=tenant.actor)
    assert told(tenant) == [
        ("memory.session.sealed", {"session_id": "s-1", "capsule_id": capsule, "user_id": "dana"}),
        ("memory.capsule.created", {"capsule_id": capsule, "user_id": "dana", "origin": "sealed"}),
        ("memory.capsule.created", {"capsule_id": forked, "user_id": "bob", "origin": "forked"}),
        ("memory.capsule.deleted", {"capsule_id": capsule}),
        ("memory.user.deleted", {"user_id": "bob", "capsules": 1}),
    ]
    with scope(tenant.organization):
        assert not Event.objects.filter(body__contains="swordfish").exists()


def test_an_import_that_is_sent_twice_is_told_once(tenant: Tenant) -> None:
    api = Api(tenant)
    content = memory("tea").model_dump_json().encode()
    answers = [
        api.client.post(
            "/api/v1/capsules/import",
            {"file": SimpleUploadedFile("c.json", content), "user_id": "dana"},
            headers=tenant.headers | {"Idempotency-Key": "once"},
        )
        for _ in range(2)
    ]
    assert [answer.status_code for answer in answers] == [200, 200]
    data = {"capsule_id": answers[0].json()["capsule_id"], "user_id": "dana"}
    assert told(tenant) == [
        ("memory.capsule.created", data | {"origin": "imported"}),
        ("memory.import.finished", data),
    ]


def test_capsules_whose_end_has_passed_are_told_once_together(tenant: Tenant) -> None:
    past = timezone.now() - timedelta(hours=1)
    ids = store(tenant, memory("tea", expires_at=past), memory("milk", expires_at=past))
    store(tenant, memory("stays"))
    for _ in range(2):
        while capsules.purge_expired():
            pass
    [(kind, data)] = told(tenant)
    assert (kind, sorted(data["capsule_ids"])) == ("memory.capsules.expired", sorted(ids))


def test_leaving_is_told_as_being_removed(tenant: Tenant) -> None:
    user = add_member(tenant, Role.MEMBER)
    with scope(tenant.organization):
        actor = Actor("user", str(user.pk), user.email)
        members.remove(actor=actor, actor_role=Role.MEMBER, user_id=user.pk)
    assert [kind for kind, _ in told(tenant)] == ["organization.member.removed"]
