"""API keys against the real server: what each may do, and that a key which has ended is dead in every process."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import httpx
import pytest
from django.utils import timezone

from capsule_cloud.api.catalogue import PLAIN
from tenancy import access
from tenancy.models import ApiKey
from tenancy.roles import SCOPE_RIGHTS, KeyScope, Right, Role
from tenancy.scope import scope
from tenancy.services import keys, members, organizations, projects
from tests.factories import Tenant, add_member
from tests.journeys.attacker import Attacker, assert_refused, untouched
from tests.live import LiveServer

A_SECOND = 1.0
CONTROL = [
    ("GET", "/v1/organization", KeyScope.ORG_READ),
    ("PATCH", "/v1/organization", KeyScope.ORG_WRITE),
    ("GET", "/v1/projects", KeyScope.ORG_READ),
    ("POST", "/v1/projects", KeyScope.ORG_WRITE),
    ("GET", "/v1/projects/{id}", KeyScope.ORG_READ),
    ("PATCH", "/v1/projects/{id}", KeyScope.ORG_WRITE),
    ("POST", "/v1/projects/{id}/archive", KeyScope.ORG_WRITE),
    ("GET", "/v1/members", KeyScope.ORG_READ),
    ("PATCH", "/v1/members/{id}", KeyScope.ORG_WRITE),
    ("DELETE", "/v1/members/{id}", KeyScope.ORG_WRITE),
    ("GET", "/v1/invitations", KeyScope.ORG_READ),
    ("POST", "/v1/invitations", KeyScope.ORG_WRITE),
    ("DELETE", "/v1/invitations/{id}", KeyScope.ORG_WRITE),
    ("POST", "/v1/invitations/{id}/resend", KeyScope.ORG_WRITE),
    ("GET", "/v1/keys", KeyScope.ORG_READ),
    ("POST", "/v1/keys", KeyScope.KEYS_WRITE),
    ("GET", "/v1/keys/{id}", KeyScope.ORG_READ),
    ("DELETE", "/v1/keys/{id}", KeyScope.KEYS_WRITE),
    ("POST", "/v1/keys/{id}/rotate", KeyScope.KEYS_WRITE),
    ("GET", "/v1/usage", KeyScope.ORG_READ),
    ("GET", "/v1/audit/events", KeyScope.AUDIT_READ),
]


def make_key(tenant: Tenant, *scopes: KeyScope, **more: Any) -> keys.NewKey:
    """A key of the tenant's owner; every scope unless some are given."""
    maker = more.pop("maker", None) or keys.Maker(tenant.actor, user=tenant.owner, role=Role.OWNER)
    wanted = [str(word) for word in scopes or KeyScope]
    with scope(tenant.organization):
        return keys.create(maker=maker, project_id=tenant.project.pk, name="Made", scopes=wanted, **more)


def plain_routes() -> Iterator[tuple[str, str, Right]]:
    for operations in PLAIN.values():
        for one in operations:
            path = one.documented_path
            for name in one.path_names:
                path = path.replace(f"{{{name}}}", "x")
            yield one.method, f"/api/v1/{path}", one.right


def test_every_route_names_the_scope_that_a_key_lacks(http: httpx.Client, live_tenant: Tenant) -> None:
    needs = {right: word for word, rights in SCOPE_RIGHTS.items() for right in rights}
    routes = [(method, path, needs[right]) for method, path, right in plain_routes()]
    routes += [(method, path.replace("{id}", str(live_tenant.key.pk)), word) for method, path, word in CONTROL]
    assert len(routes) > 40
    without = {word: make_key(live_tenant, *(set(KeyScope) - {word})).secret for word in KeyScope}
    with untouched(live_tenant):
        for method, path, word in routes:
            answer = Attacker(http, without[word])(method, path)
            assert_refused(answer, 403)
            assert word in answer.json()["detail"], (method, path, answer.text)


def test_every_tool_of_mcp_names_the_scope_that_a_key_lacks(http: httpx.Client, live_tenant: Tenant) -> None:
    me = Attacker(http, make_key(live_tenant, KeyScope.ORG_READ).secret)
    listed = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    tools = me("POST", "/mcp", json=listed).json()["result"]["tools"]
    with untouched(live_tenant):
        for tool in tools:
            params = {"name": tool["name"], "arguments": dict.fromkeys(tool["inputSchema"]["required"], "x")}
            call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
            result = me("POST", "/mcp", json=call).json()["result"]
            assert result["isError"]
            assert "memory:" in result["content"][0]["text"]


@pytest.mark.parametrize(
    "authorization", ["", "Bearer", "Bearer x", "Basic eDp5", "bearer cmk_", "Bearer cmk_" + "A" * 38]
)
def test_nothing_that_is_no_key_of_ours_reaches_the_database(
    http: httpx.Client, live_tenant: Tenant, authorization: str, django_assert_num_queries: Any
) -> None:
    answer = http.get("/v1/organization", headers={"Authorization": authorization})
    assert_refused(answer, 401)
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    with django_assert_num_queries(0), pytest.raises(access.InvalidKey):
        access.authenticate_key(authorization, "127.0.0.1")


def test_a_key_serves_its_minute_and_then_waits(http: httpx.Client, live_tenant: Tenant) -> None:
    me = Attacker(http, make_key(live_tenant, requests_per_minute=5).secret)
    answers = [me("GET", "/v1/organization") for _ in range(12)]
    served = [answer for answer in answers if answer.status_code == 200]
    assert 5 <= len(served) <= 10  # of two minutes when one ended meanwhile
    refused = [answer for answer in answers if answer.status_code != 200]
    for answer in answers:
        assert answer.headers["X-RateLimit-Limit"] == "5"
        assert int(answer.headers["X-RateLimit-Remaining"]) <= 4
    for answer in refused:
        assert_refused(answer, 429)
        assert 1 <= int(answer.headers["Retry-After"]) <= 60
        assert answer.json()["code"] == "rate_limited"
    assert Attacker(http, live_tenant.secret)("GET", "/v1/organization").status_code == 200


def test_a_key_works_from_its_own_networks_alone(http: httpx.Client, live_tenant: Tenant) -> None:
    elsewhere = Attacker(http, make_key(live_tenant, allowed_cidrs=["203.0.113.0/24", "2001:db8::/32"]).secret)
    with untouched(live_tenant):
        for headers in (
            {},
            {"X-Forwarded-For": "203.0.113.7"},
            {"X-Real-IP": "203.0.113.7"},
            {"Forwarded": "for=203.0.113.7"},
        ):
            assert_refused(elsewhere("POST", "/v1/projects", json={"name": "P"}, headers=headers), 403)
    here = Attacker(http, make_key(live_tenant, allowed_cidrs=["127.0.0.0/8"]).secret)
    assert here("GET", "/v1/organization").status_code == 200


@pytest.fixture(scope="module")
def second(django_db_setup: None) -> Iterator[LiveServer]:
    """Another server process beside the two workers of `live`, as another machine would be."""
    with LiveServer(workers=1) as server:
        yield server


@pytest.fixture
def everywhere(live: LiveServer, second: LiveServer) -> Iterator[list[httpx.Client]]:
    """Connections kept open to every process: enough that each of two workers has some."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(httpx.Client(base_url=server.url, timeout=60))
            for server, number in ((live, 8), (second, 1))
            for _ in range(number)
        ]


def statuses(everywhere: list[httpx.Client], secret: str) -> set[int]:
    headers = {"Authorization": f"Bearer {secret}"}
    return {client.get("/v1/organization", headers=headers).status_code for client in everywhere}


def close(tenant: Tenant, made: keys.NewKey) -> None:
    organizations.close(actor=tenant.actor)


def revoke(tenant: Tenant, made: keys.NewKey) -> None:
    keys.revoke(actor=tenant.actor, key_id=made.key.pk)


def revoke_the_parent(tenant: Tenant, made: keys.NewKey) -> None:
    assert made.key.parent_id is not None
    keys.revoke(actor=tenant.actor, key_id=made.key.parent_id)


def archive(tenant: Tenant, made: keys.NewKey) -> None:
    projects.archive(actor=tenant.actor, project_id=tenant.project.pk)


def remove_the_maker(tenant: Tenant, made: keys.NewKey) -> None:
    assert made.key.created_by_id is not None
    members.remove(actor=tenant.actor, actor_role=Role.OWNER, user_id=made.key.created_by_id)


def demote_the_maker(tenant: Tenant, made: keys.NewKey) -> None:
    assert made.key.created_by_id is not None
    members.change_role(actor=tenant.actor, actor_role=Role.OWNER, user_id=made.key.created_by_id, role=Role.BILLING)


def expire(tenant: Tenant, made: keys.NewKey) -> None:
    ApiKey.objects.filter(pk=made.key.pk).update(expires_at=timezone.now())


def rotate_without_overlap(tenant: Tenant, made: keys.NewKey) -> None:
    keys.rotate(actor=tenant.actor, key_id=made.key.pk, overlap=timedelta())


ENDS = [close, revoke, revoke_the_parent, archive, remove_the_maker, demote_the_maker, expire, rotate_without_overlap]


@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__)
def test_a_key_that_has_ended_is_dead_in_every_process_within_a_second(
    live_tenant: Tenant, everywhere: list[httpx.Client], end: Callable[[Tenant, keys.NewKey], None]
) -> None:
    colleague = add_member(live_tenant, Role.ADMIN)
    maker = keys.Maker(live_tenant.actor, user=colleague, role=Role.ADMIN)
    if end is revoke_the_parent:
        maker = keys.Maker(live_tenant.actor, parent_id=live_tenant.key.pk)
    made = make_key(live_tenant, KeyScope.ORG_READ, maker=maker)
    assert statuses(everywhere, made.secret) == {200}
    with scope(live_tenant.organization):
        end(live_tenant, made)
    ended_at = asked_at = time.monotonic()
    # asked without a pause: no request that begins after the second is served, however slow this machine is
    while (found := statuses(everywhere, made.secret)) != {401}:
        assert asked_at - ended_at < A_SECOND, found
        asked_at = time.monotonic()
    assert statuses(everywhere, made.secret) == {401}


def test_both_keys_work_in_every_process_during_a_rotation(live_tenant: Tenant, everywhere: list[httpx.Client]) -> None:
    me = {"Authorization": f"Bearer {live_tenant.secret}"}
    path = f"/v1/keys/{live_tenant.key.pk}/rotate"
    first, *_, last = everywhere
    answer = first.post(path, headers=me, json={"overlap_seconds": 60})
    assert answer.status_code == 201
    new = answer.json()["secret"]
    for secret in (live_tenant.secret, new):
        assert statuses(everywhere, secret) == {200}
    assert last.post(path, headers=me, json={"overlap_seconds": 60}).status_code == 409
    assert last.delete(f"/v1/keys/{live_tenant.key.pk}", headers=me).status_code == 200
    assert statuses(everywhere, new) == {200}
