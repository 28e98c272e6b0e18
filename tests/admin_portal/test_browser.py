"""The staff console in a browser: in by a second factor and a reason, to a dead letter, and started again."""

import re
from uuid import uuid4

import pytest
from allauth.mfa.totp.internal.auth import (
    format_hotp_value,
    generate_totp_secret,
    hotp_value,
    yield_hotp_counters_from_time,
)
from django.utils import timezone
from playwright.sync_api import Browser, expect

from billing.models import StripeEvent
from tests.admin_portal.conftest import REASON, make_staff
from tests.capsule_cloud.web.browser import visit
from tests.capsule_cloud.web.conftest import chromium, may_wait
from tests.factories import PASSWORD
from tests.live import LiveServer

__all__ = ["chromium", "may_wait"]
pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("may_wait")]


def code_of(secret: str) -> str:
    """The code that the person's app shows now."""
    return str(format_hotp_value(hotp_value(secret, next(iter(yield_hotp_counters_from_time())))))


def test_a_dead_letter_is_found_and_started_again(live: LiveServer, transactional_db: None, chromium: Browser) -> None:
    secret = generate_totp_secret()
    staff = make_staff(secret)
    event_id = f"evt_{uuid4().hex}"
    StripeEvent.objects.create(
        event_id=event_id,
        type="price.created",
        object_kind="price",
        object_id="price_1",
        livemode=False,
        api_version="x",
        body={"id": event_id, "data": {"object": {"object": "price", "id": "price_1"}}},
        occurred_at=timezone.now(),
        status="dead",
        attempts=10,
        error="UnknownPrice: price_1",
        due_at=timezone.now().replace(year=2100),
    )
    with visit(chromium, live.url) as visitor:
        page = visitor.go("/account/login/")
        page.get_by_label("Email").fill(staff.email)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in", exact=True).click()
        page.get_by_label("Code").fill(code_of(secret))
        page.keyboard.press("Enter")
        expect(page).not_to_have_url(re.compile("2fa"))
        visitor.go("/staff/billing/stripeevent/")
        assert visitor.serious_violations() == []
        page.get_by_label("Why do you look?").fill(REASON)
        page.get_by_role("button", name="Begin").click()
        expect(page.get_by_text("given up.", exact=False).first).to_be_visible()
        assert visitor.serious_violations() == []
        page.get_by_role("link", name="Given up", exact=True).click()
        page.get_by_role("link", name=event_id).click()
        expect(page.get_by_text("UnknownPrice: price_1")).to_be_visible()
        assert visitor.serious_violations() == []
        page.get_by_role("button", name="Start it again").click()
        expect(page.get_by_text("1 started again")).to_be_visible()
        expect(page.get_by_role("cell", name=REASON)).to_be_visible()
        visitor.go("/staff/djstripe/price/")
        assert visitor.serious_violations() == []
        page.get_by_role("button", name="End the staff session").click()
        visitor.go("/staff/")
        expect(page.get_by_label("Why do you look?")).to_be_visible()
        assert visitor.complaints == []
    StripeEvent.objects.filter(event_id=event_id).delete()  # the tests after this one work through what is due
