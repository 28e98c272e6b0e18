"""Organization settings in the console."""

import pytest
from django.test import Client

from billing.selectors.subscriptions import live
from tenancy.models import Organization
from tenancy.scope import scope
from tenancy.selectors import organization
from tests.billing.services.conftest import Buy
from tests.factories import PASSWORD, Tenant


@pytest.fixture
def fresh(tenant: Tenant, owner: Client) -> Client:
    """The owner's browser, a moment after they gave their password."""
    assert owner.post("/account/reauthenticate/", {"password": PASSWORD}).status_code == 302
    return owner


def _now(tenant: Tenant) -> Organization:
    with scope(tenant.organization):
        return organization()


def test_the_organization_can_be_renamed(tenant: Tenant, owner: Client, home: str) -> None:
    owner.post(home + "settings/name/", {"name": "New Name"})
    assert _now(tenant).name == "New Name"
    assert owner.post(home + "settings/name/", {"name": " "}).status_code == 422


def test_closing_asks_for_the_password_again(tenant: Tenant, owner: Client, home: str) -> None:
    answer = owner.post(home + "settings/close/", {"confirmation": tenant.organization.slug})
    assert answer.status_code == 302
    assert answer["Location"].startswith("/account/reauthenticate/")
    assert _now(tenant).closed_at is None


def test_giving_the_password_again_leads_back_to_closing(tenant: Tenant, owner: Client, home: str) -> None:
    asked = owner.get(home + "settings/close/")["Location"]
    answer = owner.post(asked, {"password": PASSWORD}, follow=True)
    assert answer.redirect_chain[-1][0] == home + "settings/close/"
    assert "Close the organization" in answer.content.decode()


def test_closing_needs_the_short_name_letter_by_letter(tenant: Tenant, fresh: Client, home: str) -> None:
    assert fresh.post(home + "settings/close/", {"confirmation": "something"}).status_code == 422
    assert _now(tenant).closed_at is None
    answer = fresh.post(home + "settings/close/", {"confirmation": tenant.organization.slug}, follow=True)
    assert "is closed" in answer.content.decode()
    assert _now(tenant).closed_at is not None


def test_closing_ends_what_is_paid_for(tenant: Tenant, fresh: Client, home: str, buy: Buy) -> None:
    buy(tenant, "pro")
    fresh.post(home + "settings/close/", {"confirmation": tenant.organization.slug})
    assert _now(tenant).closed_at is not None
    with scope(tenant.organization):
        assert live() is None


def test_a_closed_organization_can_be_restored(tenant: Tenant, fresh: Client, home: str) -> None:
    fresh.post(home + "settings/close/", {"confirmation": tenant.organization.slug})
    fresh.post(home + "settings/restore/")
    assert fresh.get(home).status_code == 200


def test_changing_what_members_need_asks_for_the_password_again(tenant: Tenant, owner: Client, home: str) -> None:
    answer = owner.post(home + "settings/security/", {"is_mfa_required": "on"})
    assert answer["Location"].startswith("/account/reauthenticate/")
    assert not _now(tenant).is_mfa_required


def test_a_second_factor_can_be_required(tenant: Tenant, fresh: Client, home: str) -> None:
    fresh.post(home + "settings/security/", {"is_mfa_required": "on"})
    assert _now(tenant).is_mfa_required


def test_how_long_people_stay_signed_in_is_chosen_and_left_alone_where_nothing_is_said(
    tenant: Tenant, fresh: Client, home: str
) -> None:
    fresh.post(home + "settings/security/", {"session_hours": "8"})
    assert _now(tenant).session_hours == 8
    fresh.post(home + "settings/security/", {"is_mfa_required": ""})
    assert 'value="8" selected' in fresh.get(home + "settings/").content.decode()
    fresh.post(home + "settings/security/", {"session_hours": "0"})
    assert _now(tenant).session_hours is None
    assert fresh.post(home + "settings/security/", {"session_hours": "5"}).status_code == 422


def test_a_viewer_changes_nothing(tenant: Tenant, viewer: Client, home: str) -> None:
    for page in ("name/", "security/", "restore/", "close/"):
        assert viewer.post(f"{home}settings/{page}", {"name": "Mine"}).status_code == 403
