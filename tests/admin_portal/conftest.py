"""Members of staff at a browser, with and without their second factor and a staff session."""

import time
from collections.abc import Callable

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from django.test import Client
from django.utils import timezone

from billing.models import StripeEvent
from tenancy.models import User
from tests.capsule_cloud.web import conftest as browsers
from tests.factories import make_user

REASON = "Ticket 4711: paid and still on Free"
chromium, may_wait = browsers.chromium, browsers.may_wait  # fixtures
Receive = Callable[..., StripeEvent]


def make_staff(secret: str = "") -> User:
    """A member of staff with a second factor, made of the secret."""
    user = make_user("Sam")
    user.is_staff = True
    user.save()
    TOTP.activate(user, secret or generate_totp_secret())
    return user


def prove(browser: Client, user: User, seconds_ago: float = 0) -> None:
    """Let the browser remember that the person used their second factor then."""
    session = browser.session
    session["account_authentication_methods"] = [{"method": "mfa", "at": time.time() - seconds_ago, "type": "totp"}]
    session["account_authentication_methods_user"] = str(user.pk)
    session.save()


@pytest.fixture
def staff(db: None) -> User:
    """A member of staff with a second factor."""
    return make_staff()


@pytest.fixture
def desk(staff: User) -> Client:
    """The browser of a member of staff in a staff session."""
    browser = Client()
    browser.force_login(staff)
    prove(browser, staff)
    assert browser.post("/staff/session/", {"reason": REASON}).status_code == 302
    return browser


@pytest.fixture
def receive(db: None) -> Receive:
    """Keeps an event of Stripe's: `receive("evt_1", customer="cus_1", status="dead")`."""

    def received(
        event_id: str, *, customer: str | None = None, kind: str = "invoice.paid", **columns: object
    ) -> StripeEvent:
        about = {"object": "invoice", "id": f"in_{event_id}", "customer": customer, "customer_email": "ada@example.com"}
        body = {"id": event_id, "type": kind, "data": {"object": about}}
        values = {"object_kind": "invoice", "object_id": f"in_{event_id}", "livemode": False, "api_version": "x"}
        return StripeEvent.objects.create(
            event_id=event_id, type=kind, body=body, occurred_at=timezone.now(), **values | columns
        )

    return received


def without_second_factor(user: User) -> User:
    """The person without it."""
    Authenticator.objects.filter(user=user).delete()
    return user
