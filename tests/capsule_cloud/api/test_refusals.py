"""An organization hears what its keys were refused, and that a key of its that has ended is still used."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from tenancy import access
from tenancy.audit import actions
from tenancy.audit.attempts import services
from tenancy.audit.attempts.services import FIRST
from tenancy.models import ApiKey, Organization, Project
from tenancy.roles import KeyScope
from tenancy.scope import scope
from tests.capsule_cloud.api.client import Api
from tests.factories import Tenant, make_tenant
from tests.trail import audited


@pytest.fixture(autouse=True)
def _fresh_process() -> Iterator[None]:
    services._tallies.clear()
    access.reset_key_cache()
    yield
    services._tallies.clear()
    access.reset_key_cache()


def told(tenant: Tenant, action: actions.Action) -> list[Any]:
    """The trail's events of an action."""
    with scope(tenant.organization):
        return audited(action.name)


def ask(tenant: Tenant, path: str = "/v1/organization", **meta: Any) -> int:
    """A GET with the tenant's key; the status."""
    return Client().get(path, headers=tenant.headers, **meta).status_code


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("path", "where"), [("/v1/members", "/v1/members"), ("/api/v1/capsules/ada@example.com", "/api/v1/capsules")]
)
def test_what_a_key_may_not_do_is_in_the_trail_without_the_ids_of_the_address(path: str, where: str) -> None:
    tenant = make_tenant([KeyScope.AUDIT_READ])
    assert ask(tenant, path) == 403
    [event] = told(tenant, actions.ACCESS_DENIED)
    assert event.metadata == {"code": "missing_scope", "method": "GET", "path": where}
    assert (event.actor["kind"], event.actor["id"]) == ("api_key", str(tenant.key.pk))
    assert event.context["ip"] == "127.0.0.1"
    assert "ada@example.com" not in event.body


def test_a_key_from_another_address_is_in_the_trail(tenant: Tenant) -> None:
    with scope(tenant.organization):
        ApiKey.objects.filter(pk=tenant.key.pk).update(allowed_cidrs=["203.0.113.0/24"])
    assert ask(tenant) == 403
    [event] = told(tenant, actions.ACCESS_DENIED)
    assert event.metadata["code"] == "address_not_allowed"


def test_too_many_requests_are_in_the_trail_a_few_times(tenant: Tenant) -> None:
    with scope(tenant.organization):
        Organization.objects.update(requests_per_minute=1)
    statuses = [ask(tenant) for _ in range(FIRST + 4)]
    refused = statuses.count(429)
    assert refused >= FIRST + 1
    assert len(told(tenant, actions.RATE_LIMITED)) == FIRST
    assert told(tenant, actions.RATE_LIMITED)[0].metadata == {"method": "GET", "path": "/v1/organization"}


@pytest.mark.parametrize("why", ["revoked", "expired", "project_archived", "organization_closed"])
def test_a_key_that_has_ended_tells_whose_it_was(why: str, tenant: Tenant) -> None:
    now = timezone.now()
    with scope(tenant.organization):
        match why:
            case "revoked":
                ApiKey.objects.update(revoked_at=now)
            case "expired":
                ApiKey.objects.update(expires_at=now - timedelta(seconds=1))
            case "project_archived":
                Project.objects.update(archived_at=now)
            case _:
                Organization.objects.update(closed_at=now)
    assert [ask(tenant) for _ in range(FIRST + 1)] == [401] * (FIRST + 1)
    events = told(tenant, actions.DEAD_KEY_USED)
    assert [event.metadata["why"] for event in events] == [why] * FIRST
    assert events[0].target["id"] == str(tenant.key.pk)
    assert tenant.secret not in events[0].body


def test_a_key_that_never_was_is_nobody_s(tenant: Tenant) -> None:
    other = make_tenant()
    with scope(other.organization):
        ApiKey.objects.all().delete()
    assert ask(other) == 401
    assert Client().get("/v1/organization", headers={"Authorization": "Bearer nonsense"}).status_code == 401
    assert Client().get("/v1/organization").status_code == 401
    assert told(tenant, actions.DEAD_KEY_USED) == told(other, actions.DEAD_KEY_USED) == []


def test_what_is_not_there_is_no_attempt(api: Api) -> None:
    assert api.get("/v1/nothing").status_code == 404
    assert told(api.tenant, actions.ACCESS_DENIED) == []


@pytest.mark.django_db
def test_a_tool_that_a_key_may_not_use_is_in_the_trail() -> None:
    tenant = make_tenant([KeyScope.MEMORY_READ])
    body = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": "capsule_extract_skill", "arguments": {"skill_description": "x"}},
    }
    headers = tenant.headers | {"Accept": "application/json, text/event-stream"}
    assert Client().post("/mcp", body, content_type="application/json", headers=headers).status_code == 200
    [event] = told(tenant, actions.ACCESS_DENIED)
    assert event.metadata == {"code": "missing_scope", "method": "POST", "path": "/mcp"}
