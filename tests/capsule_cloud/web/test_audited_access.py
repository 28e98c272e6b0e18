"""What a member may not open is in the trail, and so is who reads the trail."""

from collections.abc import Iterator

import pytest
from django.test import Client

from tenancy.audit import actions
from tenancy.audit.attempts import services
from tenancy.audit.attempts.services import FIRST
from tenancy.roles import Role
from tenancy.scope import scope
from tests.capsule_cloud.api.client import Api
from tests.capsule_cloud.web.conftest import SignIn
from tests.factories import Tenant, add_member
from tests.trail import audited


@pytest.fixture(autouse=True)
def _fresh_process() -> Iterator[None]:
    services._tallies.clear()
    yield
    services._tallies.clear()


@pytest.mark.parametrize("page", ["audit", "webhooks"])
def test_a_page_that_a_member_may_not_open_is_in_the_trail(
    page: str, tenant: Tenant, sign_in: SignIn, home: str
) -> None:
    viewer = add_member(tenant, Role.VIEWER)
    for _ in range(FIRST + 2):
        assert sign_in(viewer).get(f"{home}{page}/").status_code == 403
    with scope(tenant.organization):
        events = audited(actions.ACCESS_DENIED.name)
    assert [event.metadata for event in events] == [{"code": "forbidden", "method": "GET", "path": page}] * FIRST
    assert events[0].actor["id"] == str(viewer.pk)


def test_a_button_that_is_refused_is_in_the_trail_and_undone(tenant: Tenant, sign_in: SignIn, home: str) -> None:
    admin = add_member(tenant, Role.ADMIN)
    answer = sign_in(admin).post(f"{home}members/{tenant.owner.pk}/remove/")
    assert answer.status_code == 403
    with scope(tenant.organization):
        [event] = audited(actions.ACCESS_DENIED.name)
        assert audited(actions.MEMBER_REMOVED.name) == []
    assert (event.metadata["path"], event.metadata["method"]) == ("member_remove", "POST")


def test_a_stranger_s_try_is_nobody_s_event(tenant: Tenant, stranger: Tenant, sign_in: SignIn, home: str) -> None:
    assert sign_in(stranger.owner).get(f"{home}audit/").status_code == 404
    with scope(tenant.organization):
        assert audited(actions.ACCESS_DENIED.name) == audited(actions.TRAIL_READ.name) == []


def test_who_reads_the_trail_stands_in_it_once_an_hour(tenant: Tenant, owner: Client, home: str) -> None:
    for _ in range(3):
        assert owner.get(f"{home}audit/").status_code == 200
        assert Api(tenant).get("/v1/audit/events").status_code == 200
    assert owner.get(f"{home}audit/{'0' * 8}-0000-7000-8000-{'0' * 12}/").status_code == 404
    with scope(tenant.organization):
        events = audited(actions.TRAIL_READ.name)
    assert [(event.actor["kind"], event.metadata["page"]) for event in events] == [
        ("user", "audit"),
        ("api_key", "/v1/audit/events"),
    ]
