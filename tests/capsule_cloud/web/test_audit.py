"""The audit log in the console."""

import re
import uuid
from html import unescape

import pytest
from django.test import Client

from tenancy.audit import actions, selectors
from tenancy.audit.models import AuditEvent
from tenancy.audit.search.models import SavedView
from tenancy.audit.services import Actor, Context, Target, context, record
from tenancy.roles import Role
from tenancy.scope import scope
from tenancy.services import projects
from tests.capsule_cloud.web.conftest import SignIn
from tests.factories import PASSWORD, Tenant, add_member
from tests.sealing import seal_all
from tests.trail import audited


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


def test_every_filter_of_the_page_is_one_of_the_search(tenant: Tenant, owner: Client, home: str) -> None:
    staff = Actor("staff", str(uuid.uuid4()), "Grace")
    with scope(tenant.organization), context(Context("r", "203.0.113.7", "curl/8")):
        record(action=actions.STAFF_LOOKED, actor=staff, target=Target("page", "x", "Members"), reason="ticket 4711")
    for query in ("is_staff=on", "ip=203.0.113.7", "text=ticket+4711", "action=staff,access", "actor=grace"):
        rows = owner.get(f"{home}audit/?{query}").content.decode().split("<tbody>")[1]
        assert "Capsule staff" in rows
        assert "created the organization" not in rows
    assert "Nothing matches" in owner.get(home + "audit/?is_failure=on").content.decode()


def test_when_the_time_is_over_the_page_says_how_far_it_looked(
    tenant: Tenant, owner: Client, home: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selectors, "FIRST_LOOK", 1)
    monkeypatch.setattr(selectors, "LONGEST_LOOK", 1)
    monkeypatch.setattr(selectors, "BUDGET", 0.0)
    text = owner.get(home + "audit/?text=nowhere").content.decode()
    assert "the log goes on" in text
    assert "Look further back" in text


def test_the_picture_counts_by_kind_and_its_bars_narrow_the_time(tenant: Tenant, owner: Client, home: str) -> None:
    page = owner.get(home + "audit/timeline/?actor=ada").content.decode()
    assert "Created" in page
    links = [unescape(one) for one in re.findall(r'<td><a href="([^"]+)"', page)]
    assert links
    assert "actor=ada" in links[0]
    assert "created the organization" in owner.get(links[0]).content.decode()
    assert "no event to draw" in owner.get(home + "audit/timeline/?since=2020-01-01&until=2024-01-01").content.decode()
    for query in (
        "since=1000-01-01",
        "until=9999-12-31",
        "since=2999-01-01",
        "since=2026-11-29T10:00&until=2026-11-29T11:00",
    ):
        assert owner.get(f"{home}audit/timeline/?{query}").status_code == 200


def test_a_search_is_kept_opened_and_deleted(tenant: Tenant, owner: Client, home: str) -> None:
    assert "Choose at least one filter" in owner.post(home + "audit/views/new/", {"name": "x"}).content.decode()
    made = owner.post(home + "audit/views/new/?actor=ada", {"name": "Ada", "is_shared": "on"})
    assert made.headers["Location"] == home + "audit/?actor=ada"
    with scope(tenant.organization):
        view = SavedView.objects.get()
    assert 'aria-label="Delete the saved search Ada"' in owner.get(made.headers["Location"]).content.decode()
    owner.post(f"{home}audit/views/{view.pk}/delete/")
    assert "Saved searches" not in owner.get(home + "audit/").content.decode()
    assert owner.post(f"{home}audit/views/{view.pk}/delete/").status_code == 404


def test_an_event_shows_its_change_its_staff_and_its_proof(tenant: Tenant, owner: Client, home: str) -> None:
    with scope(tenant.organization):
        event = record(
            action=actions.MEMBER_ROLE_CHANGED,
            actor=Actor("staff", str(uuid.uuid4()), "Grace"),
            target=Target("user", str(uuid.uuid4()), "bob@example.com"),
            metadata={"keys_revoked": 0},
            changes={"role": ["viewer", None]},
            reason="ticket 4711",
        )
    address = f"{home}audit/{event.pk}/"
    early = owner.get(address).content.decode()
    assert "Not sealed yet" in early
    assert owner.get(address + "proof/").status_code == 409
    for said in (
        "Capsule staff did this",
        "ticket 4711",
        '<del class="break">viewer</del>',
        "class_uid",
        "bob@example.com",
    ):
        assert said in early
    seal_all()
    late = owner.get(address).content.decode()
    assert "Sealed, at place" in late
    assert owner.get(address + "body/").content.decode() == event.body
    assert owner.get(address + "proof/").content.decode().startswith("c2sp.org/tlog-proof@v1")
    assert "sealed and signed" in owner.get(home + "audit/").content.decode()


def test_an_owner_erases_a_person_who_signed_in_again(tenant: Tenant, owner: Client, home: str) -> None:
    gone = str(uuid.uuid4())
    with scope(tenant.organization):
        event = record(
            action=actions.PROJECT_UPDATED,
            actor=Actor("user", gone, "eve@example.com"),
            target=Target("project", "p", "P"),
        )
    link = f'href="{home}audit/erase/?kind=user&amp;subject_id={gone}"'
    assert link in owner.get(f"{home}audit/{event.pk}/").content.decode()
    wish = {"kind": "user", "subject_id": gone, "reason": "asked for it", "confirmation": "ERASE"}
    assert "reauthenticate" in owner.get(home + "audit/erase/").headers["Location"]
    owner.post("/account/reauthenticate/", {"password": PASSWORD})
    page = owner.get(f"{home}audit/erase/?kind=user&subject_id={gone}").content.decode()
    assert "Nobody can undo it" in page
    assert f'value="{gone}"' in page, "who was chosen at an event need not be typed"
    assert owner.post(home + "audit/erase/", wish | {"confirmation": "yes"}).status_code == 422
    assert owner.post(home + "audit/erase/", wish | {"subject_id": "nobody"}).status_code == 404
    assert owner.post(home + "audit/erase/", wish).status_code == 302
    page = owner.get(f"{home}audit/{event.pk}/").content.decode()
    assert "erased person" in page
    assert "eve@example.com" not in page
    assert link not in page, "nobody is erased twice"
    with scope(tenant.organization):
        assert [one.reason for one in audited(actions.PERSON_ERASED.name)] == ["asked for it"]


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
    [older] = re.findall(r'href="([^"]+)" rel="next"', first)
    second = owner.get(unescape(older)).content.decode()
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
