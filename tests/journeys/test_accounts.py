"""A person's account from sign-up to second factors, as browsers see it."""

import re
import uuid

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value, yield_hotp_counters_from_time
from django.core import mail
from django.core.cache import cache
from django.test import Client

from tenancy.audit import selectors
from tenancy.models import User
from tenancy.roles import Role
from tenancy.scope import scope
from tenancy.services import organizations
from tests.factories import PASSWORD, Tenant, add_member, make_user


@pytest.fixture
def visitor(db: None) -> Client:
    """A browser at an address of its own, so that rate limits of other tests do not count for it."""
    number = uuid.uuid4().int
    return Client(REMOTE_ADDR=f"10.{number % 250}.{number // 250 % 250}.{number // 62500 % 250}")


def code_in_mail_to(email: str) -> str:
    """The code in the newest mail to an address."""
    body = next(str(message.body) for message in reversed(mail.outbox) if email in message.to)
    found = re.search(r"^\s*([A-Z0-9]{3,4}-?[A-Z0-9]{3,4})\s*$", body, re.MULTILINE)
    assert found, body
    return found[1]


def sign_up(browser: Client, email: str) -> None:
    """Fill in the sign-up form."""
    form = {"name": "Grace Hopper", "email": email, "password1": PASSWORD}
    response = browser.post("/account/signup/", form)
    assert response.status_code == 302, response.content.decode()


def sign_in(browser: Client, user: User, password: str = PASSWORD) -> int:
    """Fill in the sign-in form; returns the answer's status."""
    return browser.post("/account/login/", {"login": user.email, "password": password}).status_code


def totp_code(secret: str) -> str:
    """What an authenticator app shows now (RFC 6238)."""
    return str(format_hotp_value(hotp_value(secret, next(yield_hotp_counters_from_time()))))


def set_up_totp(browser: Client) -> str:
    """Enter the password again and set up an authenticator app; returns its secret."""
    browser.post("/account/reauthenticate/?next=/account/2fa/totp/activate/", {"password": PASSWORD})
    assert browser.get("/account/2fa/totp/activate/").status_code == 200
    secret: str = browser.session["mfa.totp.secret"]
    assert browser.post("/account/2fa/totp/activate/", {"code": totp_code(secret)}).status_code == 302
    return secret


def fresh_email() -> str:
    return f"grace-{uuid.uuid4().hex[:12]}@example.com"


def test_sign_up_is_finished_by_the_code_in_the_mail(visitor: Client) -> None:
    email = fresh_email()
    sign_up(visitor, email)
    assert visitor.get("/account/").status_code == 302
    answer = visitor.post("/account/confirm-email/", {"code": code_in_mail_to(email)})
    assert answer.status_code == 302
    assert visitor.get("/account/").status_code == 200
    assert User.objects.get(email=email).name == "Grace Hopper"


def test_a_wrong_code_confirms_nothing(visitor: Client) -> None:
    email = fresh_email()
    sign_up(visitor, email)
    assert visitor.post("/account/confirm-email/", {"code": "AAAAAA"}).status_code == 200
    assert visitor.get("/account/").status_code == 302


def test_signing_up_twice_does_not_say_that_the_address_is_known(visitor: Client) -> None:
    known = make_user()
    sign_up(visitor, known.email)
    assert "already" in str(mail.outbox[-1].body)
    assert User.objects.get(email=known.email).name == "Ada"


@pytest.mark.parametrize("password", ["short-1", "password123456", "1234567890123"])
def test_a_weak_password_is_refused(visitor: Client, password: str) -> None:
    form = {"name": "Grace", "email": fresh_email(), "password1": password}
    assert visitor.post("/account/signup/", form).status_code == 200
    assert not User.objects.filter(email=form["email"]).exists()


def test_guessing_passwords_is_slowed_down(visitor: Client) -> None:
    user = make_user()
    for _ in range(10):
        sign_in(visitor, user, "wrong-password-1")
    answer = visitor.post("/account/login/", {"login": user.email, "password": PASSWORD})
    assert answer.status_code in {200, 429}  # refused, although the password is right
    assert visitor.get("/account/").status_code == 302


def test_a_forgotten_password_is_reset_by_a_code(visitor: Client) -> None:
    user = make_user()
    assert visitor.post("/account/password/reset/", {"email": user.email}).status_code == 302
    confirm = visitor.post("/account/password/reset/confirm/", {"code": code_in_mail_to(user.email)})
    assert confirm.status_code == 302
    answer = visitor.post(confirm.headers["Location"], {"password1": "a-new-one-12345", "password2": "a-new-one-12345"})
    assert answer.status_code == 302
    user.refresh_from_db()
    assert user.check_password("a-new-one-12345")


def test_signing_in_and_failing_to_are_in_the_audit_log(tenant: Tenant, visitor: Client) -> None:
    sign_in(visitor, tenant.owner, "wrong-password-1")
    assert sign_in(visitor, tenant.owner) == 302
    with scope(tenant.organization):
        newest = [event.action for event in selectors.events(limit=2)]
    assert newest == ["account.signed_in", "account.sign_in_failed"]


def test_a_second_factor_is_asked_for_and_its_secret_is_sealed(visitor: Client) -> None:
    user = make_user()
    sign_in(visitor, user)
    secret = set_up_totp(visitor)
    stored = Authenticator.objects.get(user=user, type=Authenticator.Type.TOTP)
    assert secret not in str(stored.data)
    cache.clear()  # the code just used may be used again
    again = Client(REMOTE_ADDR=visitor.defaults["REMOTE_ADDR"])
    answer = again.post("/account/login/", {"login": user.email, "password": PASSWORD})
    assert answer.headers["Location"] == "/account/2fa/authenticate/"
    assert again.get("/account/").status_code == 302
    assert again.post("/account/2fa/authenticate/", {"code": totp_code(secret)}).status_code == 302
    assert again.get("/account/").status_code == 200


def test_a_recovery_code_works_once(visitor: Client) -> None:
    user = make_user()
    sign_in(visitor, user)
    set_up_totp(visitor)
    codes = Authenticator.objects.get(user=user, type=Authenticator.Type.RECOVERY_CODES).wrap().get_unused_codes()
    statuses = []
    for _ in range(2):
        again = Client(REMOTE_ADDR=visitor.defaults["REMOTE_ADDR"])
        sign_in(again, user)
        again.post("/account/2fa/authenticate/", {"code": codes[0]})
        statuses.append(again.get("/account/").status_code)
    assert statuses == [200, 302]


def test_a_dangerous_step_asks_for_the_password_again(visitor: Client) -> None:
    sign_in(visitor, make_user())
    dangerous = "/account/2fa/totp/activate/"
    asked = visitor.get(dangerous).headers["Location"]
    assert asked.startswith("/account/reauthenticate/")
    visitor.post(asked, {"password": "wrong-password-1"})
    assert visitor.get(dangerous).status_code == 302
    visitor.post(asked, {"password": PASSWORD})
    assert visitor.get(dangerous).status_code == 200


def test_an_organization_that_requires_a_second_factor_opens_only_with_one(tenant: Tenant, visitor: Client) -> None:
    with scope(tenant.organization):
        organizations.update(actor=tenant.actor, is_mfa_required=True)
    member = add_member(tenant, Role.ADMIN)
    sign_in(visitor, member)
    home = f"/o/{tenant.organization.slug}/"
    assert visitor.get(home).headers["Location"] == "/account/2fa/"
    set_up_totp(visitor)
    assert visitor.get(home).status_code == 200
