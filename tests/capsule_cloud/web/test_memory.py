"""The memory browser: search, read, change, export, forget."""

import json
from datetime import UTC, datetime
from urllib.parse import quote

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.utils.html import escape

from capsule_cloud.memory.models import Capsule, Session
from capsule_cloud.memory.services import sessions
from tenancy.audit.models import AuditEvent
from tenancy.roles import Role
from tenancy.scope import scope
from tenancy.services.signing import verify_export
from tests.capsule_cloud.web.conftest import SignIn
from tests.factories import PASSWORD, Tenant, add_member

ODD_USER = "dana/../ <b>&?=%#"


def remember(tenant: Tenant, title: str, fact: str, user_id: str = "dana", tags: list[str] | None = None) -> str:
    """A capsule made of one conversation; returns its id."""
    session_id = f"about {title}/?&"
    sessions.ingest(
        organization_id=tenant.organization.pk,
        project_id=tenant.project.pk,
        session_id=session_id,
        user_id=user_id,
        turns=[sessions.TurnPair(f"Tell me about {title}", fact)],
        actor=tenant.actor,
    )
    with scope(tenant.organization):
        return sessions.seal(
            project_id=tenant.project.pk,
            session_id=session_id,
            title=title,
            tags=tags or [],
            facts=[{"key": "thing", "value": fact}],
            summary=fact,
            actor=tenant.actor,
        ).capsule_id


@pytest.fixture
def capsule(tenant: Tenant, home: str) -> str:
    """The address of a remembered capsule."""
    return f"{home}memory/default/?id={remember(tenant, 'Lisbon office', 'Invoices go to Lisbon', tags=['billing'])}"


@pytest.mark.usefixtures("capsule")
def test_a_search_says_why_it_matched(tenant: Tenant, owner: Client, home: str) -> None:
    remember(tenant, "Knees", "The left knee hurts")
    text = owner.get(home + "memory/?q=invoic", headers={"HX-Request": "true"}).content.decode()
    assert "<html" not in text
    assert "<mark>Invoices</mark>" in text
    assert "Knees" not in text
    assert "Nothing like that" in owner.get(home + "memory/?q=zebra").content.decode()


def test_filters_narrow_by_end_user_type_and_tag(tenant: Tenant, owner: Client, home: str) -> None:
    remember(tenant, "First", "One thing", tags=["red"])
    remember(tenant, "Second", "Another thing", user_id=ODD_USER)

    def titles(query: str) -> list[str]:
        rows = owner.get(f"{home}memory/?{query}", headers={"HX-Request": "true"}).content.decode()
        return [title for title in ("First", "Second") if f">{title}<" in rows]

    assert titles("") == ["First", "Second"]
    assert titles(f"user={quote(ODD_USER)}") == ["Second"]
    assert titles("tag=red") == ["First"]
    assert titles("type=skill") == []
    assert titles("type=nonsense") == []
    assert titles("q=%00thing") == ["First", "Second"]
    assert titles("page=99999999999") == []


def test_more_capsules_are_on_the_next_page(tenant: Tenant, owner: Client, home: str) -> None:
    for number in range(21):
        remember(tenant, f"Note {number}", "x")
    first = owner.get(home + "memory/").content.decode()
    assert 'href="?page=2"' in first
    assert "21 capsules of 1 end user" in first
    second = owner.get(home + "memory/?page=2").content.decode()
    assert second.count('class="capsule-row"') == 1


def test_a_capsule_shows_its_facts_and_where_it_came_from(owner: Client, capsule: str) -> None:
    text = owner.get(capsule).content.decode()
    assert "Invoices go to Lisbon" in text
    assert "about%20Lisbon%20office%2F%3F%26" in text


def test_what_end_users_say_is_never_markup(tenant: Tenant, owner: Client, home: str) -> None:
    nasty = "<script>alert(1)</script>"
    capsule_id = remember(tenant, nasty, nasty, user_id=nasty, tags=[nasty])
    session_id = quote(f"about {nasty}/?&", safe="")
    for page in ("memory/", "memory/?q=alert", f"memory/default/?id={capsule_id}", "sessions/", "audit/"):
        assert nasty not in owner.get(home + page).content.decode()
    assert nasty not in owner.get(f"{home}sessions/default/?id={session_id}").content.decode()


def test_a_capsule_of_another_organization_is_not_found(
    tenant: Tenant, stranger: Tenant, owner: Client, home: str
) -> None:
    foreign = remember(stranger, "Secret", "Nobody's business")
    for action in ("", "fork/", "delete/"):
        assert owner.get(f"{home}memory/default/{action}?id={foreign}").status_code == 404
    for action in ("pin/", "tags/", "expiry/", "fork/", "export/", "delete/"):
        answer = owner.post(f"{home}memory/default/{action}", {"id": foreign, "file_format": "json"})
        assert answer.status_code == 404
    with scope(stranger.organization):
        assert Capsule.objects.count() == 1


def test_a_capsule_is_pinned_and_tagged(tenant: Tenant, owner: Client, home: str, capsule: str) -> None:
    capsule_id = capsule.split("id=")[1]
    assert owner.post(home + "memory/default/pin/", {"id": capsule_id, "is_pinned": "1"})["Location"] == capsule
    owner.post(home + "memory/default/tags/", {"id": capsule_id, "tags": "billing, vip ,"})
    with scope(tenant.organization):
        row = Capsule.objects.get()
    assert row.is_pinned
    assert row.tags == ["billing", "vip"]
    owner.post(home + "memory/default/pin/", {"id": capsule_id, "is_pinned": "0"})
    assert "pinned</span>" not in owner.get(capsule).content.decode()


def test_a_capsule_gets_an_end_and_loses_it(tenant: Tenant, owner: Client, home: str, capsule: str) -> None:
    wanted = {"id": capsule.split("id=")[1], "expires_at": "2099-12-31T18:30"}
    answer = owner.post(home + "memory/default/expiry/", wanted, follow=True)
    assert "From then on nobody sees it." in answer.content.decode()
    assert 'value="2099-12-31T18:30"' in answer.content.decode()
    assert "expires <time" in owner.get(home + "memory/").content.decode()
    with scope(tenant.organization):
        assert Capsule.objects.get().expires_at == datetime(2099, 12, 31, 18, 30, tzinfo=UTC)
    for odd in ("2001-01-01T00:00", "tomorrow", "9" * 5000):
        refused = owner.post(home + "memory/default/expiry/", wanted | {"expires_at": odd}, follow=True)
        assert "toast-error" in refused.content.decode()
    owner.post(home + "memory/default/expiry/", wanted | {"expires_at": ""})
    with scope(tenant.organization):
        assert Capsule.objects.get().expires_at is None


def test_a_pinned_capsule_is_offered_no_end(owner: Client, home: str, capsule: str) -> None:
    wanted = {"id": capsule.split("id=")[1], "is_pinned": "1", "expires_at": "2099-12-31T18:30"}
    owner.post(home + "memory/default/pin/", wanted)
    assert 'name="expires_at"' not in owner.get(capsule).content.decode()
    refused = owner.post(home + "memory/default/expiry/", wanted, follow=True)
    assert "unpin it first" in refused.content.decode()


def test_a_capsule_is_copied_for_another_end_user(tenant: Tenant, owner: Client, home: str, capsule: str) -> None:
    page, capsule_id = home + "memory/default/fork/", capsule.split("id=")[1]
    assert "Lisbon office" in owner.get(f"{page}?id={capsule_id}").content.decode()
    answer = owner.post(page, {"id": capsule_id, "new_user_id": ODD_USER, "tags": "copied"}, follow=True)
    assert f"Copied for {escape(ODD_USER)}." in answer.content.decode()
    with scope(tenant.organization):
        copy = Capsule.objects.get(user_id=ODD_USER)
        assert set(copy.tags) >= {"billing", "copied"}
        assert Capsule.objects.count() == 2
    for odd in ("", "x" * 256, "a\x00b"):
        assert owner.post(page, {"id": capsule_id, "new_user_id": odd}).status_code == 422


def test_a_capsule_is_compared_with_others_of_its_end_user(
    tenant: Tenant, owner: Client, home: str, capsule: str
) -> None:
    assert "Compare with" not in owner.get(capsule).content.decode()
    other = remember(tenant, "Porto office", "Invoices go to Porto")
    foreign = remember(tenant, "Knees", "The left knee hurts", user_id="miguel")
    text = owner.get(capsule).content.decode()
    assert f'<option value="{other}">Porto office</option>' in text
    assert foreign not in text


def test_an_export_is_signed_and_audited(tenant: Tenant, owner: Client, home: str, capsule: str) -> None:
    wanted = {"id": capsule.split("id=")[1], "file_format": "json"}
    answer = owner.post(home + "memory/default/export/", wanted)
    assert json.loads(answer.content)["metadata"]["title"] == "Lisbon office"
    assert answer["Content-Disposition"].startswith("attachment; filename=")
    with scope(tenant.organization):
        assert verify_export(answer.content, answer["X-Capsule-Signature"])
        assert AuditEvent.objects.filter(action="memory.capsule.exported").count() == 1


def test_an_export_with_a_passphrase_hides_the_content(owner: Client, home: str, capsule: str) -> None:
    wanted = {"id": capsule.split("id=")[1], "file_format": "json", "passphrase": "a long passphrase"}
    answer = owner.post(home + "memory/default/export/", wanted)
    assert answer.status_code == 200
    assert b"Invoices" not in answer.content
    for odd in (
        {"passphrase": "short"},
        {"passphrase": "a long passphrase", "file_format": "prompt"},
        {"file_format": "x"},
    ):
        refused = owner.post(home + "memory/default/export/", wanted | odd, follow=True)
        assert "toast-error" in refused.content.decode()


def test_a_deleted_capsule_takes_its_turns_along(tenant: Tenant, owner: Client, home: str, capsule: str) -> None:
    capsule_id = capsule.split("id=")[1]
    assert "cannot be undone" in owner.get(f"{home}memory/default/delete/?id={capsule_id}").content.decode()
    answer = owner.post(home + "memory/default/delete/", {"id": capsule_id}, follow=True)
    assert "are deleted" in answer.content.decode()
    assert owner.get(capsule).status_code == 404
    with scope(tenant.organization):
        assert Session.objects.get().turns_purged_at is not None


def test_forgetting_a_person_needs_the_password_and_the_id(tenant: Tenant, owner: Client, home: str) -> None:
    remember(tenant, "One", "x", user_id=ODD_USER)
    remember(tenant, "Other", "y")
    wanted = {"user": ODD_USER, "confirmation": ODD_USER}
    assert owner.post(home + "memory/default/forget/", wanted)["Location"].startswith("/account/reauthenticate/")
    owner.post("/account/reauthenticate/", {"password": PASSWORD})
    assert owner.post(home + "memory/default/forget/", wanted | {"confirmation": "dana"}).status_code == 422
    answer = owner.post(home + "memory/default/forget/", wanted, follow=True)
    assert "1 capsules, 1 sessions, 2 turns" in answer.content.decode()
    with scope(tenant.organization):
        assert [row.user_id for row in Capsule.objects.all()] == ["dana"]


def test_an_export_can_be_imported_for_somebody_else(tenant: Tenant, owner: Client, home: str, capsule: str) -> None:
    exported = owner.post(home + "memory/default/export/", {"id": capsule.split("id=")[1], "file_format": "msgpack"})
    file = SimpleUploadedFile("kept.capsule", exported.content)
    answer = owner.post(home + "memory/default/import/", {"file": file, "user_id": "new-owner"})
    assert answer.status_code == 302
    assert "new-owner" in owner.get(answer["Location"]).content.decode()
    broken = SimpleUploadedFile("kept.json", b'{"not": "a capsule"}')
    refused = owner.post(home + "memory/default/import/", {"file": broken, "user_id": "x"})
    assert refused.status_code == 422
    with scope(tenant.organization):
        assert Capsule.objects.count() == 2


def test_a_viewer_reads_and_exports_but_changes_nothing(
    tenant: Tenant, viewer: Client, home: str, capsule: str
) -> None:
    text = viewer.get(capsule).content.decode()
    assert "Invoices go to Lisbon" in text
    for word in ("/pin/", "/tags/", "/expiry/", "/fork/", "/delete/", "/forget/"):
        assert word not in text
    wanted = {"id": capsule.split("id=")[1], "is_pinned": "1", "tags": "x", "user": "dana"}
    for action in ("pin/", "tags/", "expiry/", "fork/", "merge/", "delete/", "forget/", "import/"):
        assert viewer.post(home + f"memory/default/{action}", wanted).status_code == 403
    assert viewer.post(home + "memory/default/export/", wanted | {"file_format": "json"}).status_code == 200


def test_a_member_may_delete(tenant: Tenant, home: str, capsule: str, sign_in: SignIn) -> None:
    browser = sign_in(add_member(tenant, Role.MEMBER, "Mel"))
    assert "/delete/" in browser.get(capsule).content.decode()
