"""What a person does with their account is told in each of their organizations."""

import re
from typing import Any

from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal import auth as totp
from django.test import Client

from tenancy.audit import actions
from tenancy.audit.attempts import services as attempts
from tenancy.scope import scope
from tests.factories import PASSWORD, Tenant, make_tenant
from tests.trail import audited

NEW = "another-horse-battery-9"


def told(tenant: Tenant, action: actions.Action) -> list[Any]:
    """The trail's events of an action."""
    with scope(tenant.organization):
        return audited(action.name)


def signed_in(tenant: Tenant) -> Client:
    """A browser in which the owner has just given their password."""
    browser = Client()
    assert browser.post("/account/login/", {"login": tenant.owner.email, "password": PASSWORD}).status_code == 302
    return browser


def test_a_new_password_is_told_and_not_what_it_is(tenant: Tenant, stranger: Tenant) -> None:
    form = {"oldpassword": PASSWORD, "password1": NEW, "password2": NEW}
    assert signed_in(tenant).post("/account/password/change/", form).status_code == 302
    [event] = told(tenant, actions.PASSWORD_CHANGED)
    assert event.actor["id"] == event.target["id"] == str(tenant.owner.pk)
    assert NEW not in event.body
    assert told(stranger, actions.PASSWORD_CHANGED) == []


def test_a_forgotten_password_is_told_once_it_is_new(tenant: Tenant, mailoutbox: list[Any]) -> None:
    browser = Client()
    browser.post("/account/password/reset/", {"email": tenant.owner.email})
    [code] = re.findall(r"^\s*([A-Z0-9]+-?[A-Z0-9]+)\s*$", mailoutbox[-1].body, re.MULTILINE)
    assert browser.post("/account/password/reset/confirm/", {"code": code}).status_code == 302
    assert told(tenant, actions.PASSWORD_RESET) == []
    assert browser.post("/account/password/reset/complete/", {"password1": NEW, "password2": NEW}).status_code == 302
    assert len(told(tenant, actions.PASSWORD_RESET)) == 1


def test_another_address_is_told_once_it_is_confirmed(tenant: Tenant, mailoutbox: list[Any]) -> None:
    browser = signed_in(tenant)
    address = f"new-{tenant.owner.email}"
    browser.post("/account/reauthenticate/?next=/account/email/", {"password": PASSWORD})
    asked = browser.post("/account/email/", {"action_add": "", "email": address})
    assert asked.status_code == 302
    [code] = re.findall(r"^\s*([A-Z0-9]+-?[A-Z0-9]+)\s*$", mailoutbox[-1].body, re.MULTILINE)
    assert told(tenant, actions.EMAIL_CHANGED) == []
    assert browser.post(asked.headers["Location"], {"code": code}).status_code == 302
    [event] = told(tenant, actions.EMAIL_CHANGED)
    assert event.target["id"] == str(tenant.owner.pk)
    assert address not in event.body


def test_second_factors_come_fail_and_go(transactional_db: None) -> None:
    tenant = make_tenant()
    browser = signed_in(tenant)
    browser.post("/account/reauthenticate/?next=/account/2fa/totp/activate/", {"password": PASSWORD})
    assert browser.get("/account/2fa/totp/activate/").status_code == 200
    secret = browser.session["mfa.totp.secret"]
    code = totp.format_hotp_value(totp.hotp_value(secret, next(totp.yield_hotp_counters_from_time())))
    assert browser.post("/account/2fa/totp/activate/", {"code": code}).status_code == 302
    assert {event.metadata["type"] for event in told(tenant, actions.SECOND_FACTOR_ADDED)} >= {"totp"}

    attempts._tallies.clear()
    other = signed_in(tenant)
    assert other.post("/account/2fa/authenticate/", {"code": "000000"}).status_code == 200
    [failed] = told(tenant, actions.SECOND_FACTOR_FAILED)
    assert (failed.actor["kind"], failed.target["id"]) == ("unknown", str(tenant.owner.pk))

    assert browser.post("/account/2fa/recovery-codes/generate/").status_code == 302
    assert RecoveryCodes(Authenticator.objects.get(user=tenant.owner, type="recovery_codes")).get_unused_codes()
    [renewed] = told(tenant, actions.SECOND_FACTOR_RESET)
    assert renewed.metadata == {"type": "recovery_codes"}
    assert browser.post("/account/2fa/totp/deactivate/").status_code == 302
    assert {event.metadata["type"] for event in told(tenant, actions.SECOND_FACTOR_REMOVED)} >= {"totp"}
    everything = [event.body for event in told(tenant, actions.SECOND_FACTOR_ADDED)]
    assert not [body for body in everything if secret in body or code in body]
