"""The audit log in the console."""

import uuid

from django.test import Client

from tenancy.audit.models import AuditEvent
from tenancy.roles import Role
from tenancy.scope import scope
from tenancy.services import projects
from tests.capsule_cloud.web.conftest import SignIn
from tests.factories import Tenant, add_member


def test_the_newest_event_comes_first_in_words(tenant: Tenant, owner: Client, home: str) -> None:
    owner.post(home + "projects/new/", {"name": "Latest"})
    rows = owner.get(home + "audit/").content.decode().split("<tbody>")[1]
    assert rows.index("created a project") < rows.index("created an API key") < rows.index("created the organization")


def test_filters_narrow_and_htmx_gets_the_rows_alone(tenant: Tenant, owner: Client, home: str) -> None:
    answer = owner.get(home + "audit/?action=organization.api_key", headers={"HX-Request": "true"})
    text = answer.content.decode()
    assert "<html" not in text
    assert "created an API key" in text
    assert "created the organization" not in text
    assert "Nothing matches" in owner.get(home + "audit/?actor=nobody").content.decode()
    assert "Nothing matches" in owner.get(home + "audit/?since=2999-01-01").content.decode()


def test_odd_filters_are_no_server_error(owner: Client, home: str) -> None:
    for query in ("actor=%00x", "since=never", "until=2024-13-99", "target=%F0%9F%92%A5"):
        assert owner.get(f"{home}audit/?{query}").status_code == 200
    assert owner.get(home + "audit/?before=nonsense").status_code == 404


def test_older_events_are_on_the_next_page(tenant: Tenant, owner: Client, home: str) -> None:
    with scope(tenant.organization):
        for days in range(1, 52):
            projects.update(actor=tenant.actor, project_id=tenant.project.pk, turn_retention_days=days)
        oldest = AuditEvent.objects.earliest("id")
    first = owner.get(home + "audit/").content.decode()
    assert "created the organization" not in first.split("<tbody>")[1]
    before = first.split('href="?')[1].split('"')[0].replace("&amp;", "&")
    second = owner.get(f"{home}audit/?{before}").content.decode()
    assert str(oldest.pk) in second
    assert "Newest" in second


def test_an_event_is_shown_with_everything_known_about_it(tenant: Tenant, owner: Client, home: str) -> None:
    owner.post(home + "projects/new/", {"name": "Seen"})
    with scope(tenant.organization):
        event = AuditEvent.objects.get(action="organization.project.created")
    text = owner.get(f"{home}audit/{event.pk}/").content.decode()
    assert event.context["request_id"] in text
    assert owner.get(f"{home}audit/{uuid.uuid4()}/").status_code == 404


def test_another_organizations_event_is_not_found(tenant: Tenant, stranger: Tenant, owner: Client, home: str) -> None:
    with scope(stranger.organization):
        event = AuditEvent.objects.latest("id")
    assert owner.get(f"{home}audit/{event.pk}/").status_code == 404


def test_a_plain_member_may_not_read_it(tenant: Tenant, home: str, sign_in: SignIn) -> None:
    browser = sign_in(add_member(tenant, Role.MEMBER, "Mia"))
    assert browser.get(home + "audit/").status_code == 403
    assert "Audit log" not in browser.get(home).content.decode()
