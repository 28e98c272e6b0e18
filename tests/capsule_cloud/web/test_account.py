"""Account pages: ours, and allauth's in our frame."""

import pytest
from allauth.usersessions.models import UserSession
from django.test import Client

from tests.capsule_cloud.web.conftest import SignIn
from tests.factories import Tenant, make_user

PAGES = ("", "email/", "password/change/", "2fa/", "2fa/webauthn/", "sessions/", "logout/")


def test_account_pages_stand_in_the_console(owner: Client) -> None:
    for page in PAGES:
        text = owner.get(f"/account/{page}").content.decode()
        assert "web/tokens.css" in text
        assert 'class="sidebar"' in text


def test_entrance_pages_have_our_look(client: Client, db: None) -> None:
    for page in ("login/", "signup/", "password/reset/"):
        text = client.get(f"/account/{page}").content.decode()
        assert 'class="entrance"' in text
        assert 'class="field"' in text


def test_the_overview_warns_who_has_a_password_alone(owner: Client) -> None:
    assert "Only a password protects this account" in owner.get("/account/").content.decode()


def test_a_person_changes_their_own_name(tenant: Tenant, owner: Client, home: str) -> None:
    answer = owner.post("/account/name/", {"name": "Ada Lovelace"}, follow=True)
    assert "Your name is changed." in answer.content.decode()
    assert 'value="Ada Lovelace"' in owner.get("/account/").content.decode()
    assert "<b>Ada Lovelace</b>" in owner.get(home + "members/").content.decode()
    assert "changed their name" in owner.get(home + "audit/").content.decode()


@pytest.mark.parametrize("name", ["", " ", "x" * 121, "Ada\x00", "Ada\u2028Eve"])
def test_a_name_that_cannot_be_shown_is_an_error_beside_the_form(tenant: Tenant, owner: Client, name: str) -> None:
    answer = owner.post("/account/name/", {"name": name})
    assert answer.status_code == 422
    assert 'aria-invalid="true"' in answer.content.decode()
    tenant.owner.refresh_from_db()
    assert tenant.owner.name == "Ada"


def test_another_browser_can_be_signed_out(tenant: Tenant, owner: Client, sign_in: SignIn) -> None:
    other = sign_in(tenant.owner)
    other.get("/account/", headers={"User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Firefox/140.0"})
    session = UserSession.objects.get(session_key=other.session.session_key)
    assert "Firefox on Linux" in owner.get("/account/sessions/").content.decode()
    owner.post(f"/account/sessions/{session.pk}/end/")
    assert other.get("/account/").status_code == 302
    assert owner.get("/account/").status_code == 200


def test_nobody_ends_another_persons_session(owner: Client, sign_in: SignIn) -> None:
    other = sign_in(make_user("Zoe"))
    other.get("/account/")
    session = UserSession.objects.get(session_key=other.session.session_key)
    assert owner.post(f"/account/sessions/{session.pk}/end/").status_code == 404
    assert other.get("/account/").status_code == 200
