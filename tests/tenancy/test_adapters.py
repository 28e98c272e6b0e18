"""Sign-up, sign-in and second factors, as allauth calls us."""

from typing import Any

import pytest
from allauth.mfa.adapter import get_adapter as mfa_adapter
from django.test import Client

from tenancy import adapters
from tenancy.audit import actions, selectors
from tenancy.audit.attempts import services as attempts
from tenancy.models import User
from tenancy.scope import scope
from tests.factories import PASSWORD, Tenant, make_user
from tests.trail import audited


def sign_in(email: str, password: str) -> Any:
    """Post the sign-in form."""
    return Client().post("/account/login/", {"login": email, "password": password})


def test_a_sign_in_is_in_the_trail_of_each_of_the_person_s_organizations(tenant: Tenant, stranger: Tenant) -> None:
    assert sign_in(tenant.owner.email, PASSWORD).status_code == 302
    with scope(tenant.organization):
        [event] = selectors.events(action=actions.SIGNED_IN.name)
        assert event.actor["id"] == str(tenant.owner.pk)
        assert event.context["ip"] == "127.0.0.1"
        assert event.context["request_id"]
    with scope(stranger.organization):
        assert selectors.events(action="account") == []


def test_a_failed_sign_in_is_recorded_for_a_known_address_alone(tenant: Tenant) -> None:
    assert sign_in(tenant.owner.email.upper(), "wrong").status_code == 200
    assert sign_in("nobody@example.com", "wrong").status_code == 200
    with scope(tenant.organization):
        [event] = selectors.events(action=actions.SIGN_IN_FAILED.name)
        assert event.target["label"] == tenant.owner.email
        assert "wrong" not in str([event.actor, event.target, event.metadata, event.context])


def test_failed_sign_ins_are_bounded_and_blocked_ones_are_told(tenant: Tenant, settings: Any) -> None:
    settings.ACCOUNT_RATE_LIMITS = {"login_failed": "3/m/key"}
    for _ in range(10):
        sign_in(tenant.owner.email, "wrong")
    with scope(tenant.organization):
        failed = audited(actions.SIGN_IN_FAILED.name)
        blocked = audited(actions.SIGN_IN_BLOCKED.name)
    assert (len(failed), len(blocked)) == (3, attempts.FIRST)
    assert {event.actor["kind"] for event in [*failed, *blocked]} == {"unknown"}
    assert {event.target["id"] for event in [*failed, *blocked]} == {str(tenant.owner.pk)}


@pytest.mark.django_db
def test_sign_up_keeps_the_name(mailoutbox: list[Any]) -> None:
    email = make_user().email.replace("ada", "new")
    response = Client().post("/account/signup/", {"name": " Grace Hopper ", "email": email, "password1": PASSWORD})
    assert response.status_code == 302
    assert User.objects.get(email=email).name == "Grace Hopper"
    [mail] = mailoutbox
    assert mail.to == [email]


def test_second_factors_are_sealed_before_they_are_stored() -> None:
    adapter = mfa_adapter()
    assert isinstance(adapter, adapters.MFAAdapter)
    sealed = adapter.encrypt("JBSWY3DPEHPK3PXP")
    assert "JBSWY3DPEHPK3PXP" not in sealed
    assert adapter.decrypt(sealed) == "JBSWY3DPEHPK3PXP"
