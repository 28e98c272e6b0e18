"""The billing home: where the period stands and leads, what is owed, and who sees money at all."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from billing.metering.meters import Meter
from billing.metering.models import UsageHour
from billing.models import Document
from billing.plans import Allowance
from billing.quotas.models import Level, Notice, Span
from billing.services import dunning
from billing.services.subscriptions import start_trial
from tenancy.audit.services import SYSTEM
from tenancy.roles import Role
from tenancy.scope import scope
from tests.billing.services.conftest import Buy
from tests.capsule_cloud.web.conftest import Page, SignIn, queries
from tests.factories import Tenant, add_member

PAGES = ("", "plan/", "invoices/", "credits/", "caps/", "details/")
PAY = "https://invoice.stripe.com/i/pay"


def used(tenant: Tenant, meter: Meter, quantity: int, days_ago: int = 0) -> None:
    hour = timezone.now().replace(minute=0, second=0, microsecond=0) - timedelta(days=days_ago)
    with scope(tenant.organization):
        UsageHour.objects.create(
            project_id=tenant.project.pk, meter=meter, hour=hour, quantity=quantity, events=1, key_id=tenant.key.pk
        )


def owe(tenant: Tenant, days_ago: int, pay_url: str = PAY) -> None:
    now = timezone.now()
    with scope(tenant.organization):
        dunning.payment_failed(
            actor=SYSTEM,
            invoice_ref="in_1",
            amount=29_00,
            currency="usd",
            failed_at=now - timedelta(days=days_ago, minutes=1),
            pay_url=pay_url,
            now=now,
        )


def notice(tenant: Tenant, sentence: str) -> Notice:
    with scope(tenant.organization):
        return Notice.objects.create(
            kind=Notice.Kind.THRESHOLD,
            what=Allowance.OPERATIONS,
            subject_id=tenant.organization.pk,
            span=Span.PERIOD,
            starts_at=timezone.now(),
            limit=100,
            percent=80,
            used=80,
            sentence=sentence,
        )


def test_the_free_plan_teaches_what_one_has_and_how_to_get_more(page: Page) -> None:
    text = page("billing/")
    for words in ("25,000 memory operations", "No card is needed", "Upgrade", "No operations yet in this period"):
        assert words in text
    assert "As of" in text


def test_use_stands_as_a_bar_against_what_is_included(tenant: Tenant, page: Page) -> None:
    used(tenant, Meter.RECALL, 12_500)
    used(tenant, Meter.READ, 70_000)
    used(tenant, Meter.STORED_BYTES, 250_000_000)
    text = page("billing/")
    assert "Memory operations: 12,500 of 25,000" in text
    assert 'value="0.5000"' in text
    assert "Stored bytes: 0.25 GB of 1 GB" in text
    assert "12,500 used." in text


def test_a_cap_that_is_reached_or_near_is_said(tenant: Tenant, page: Page) -> None:
    used(tenant, Meter.INGEST, 20_001)
    assert "Close to the cap." in page("billing/")
    used(tenant, Meter.RECALL, 5_000)
    text = page("billing/")
    assert "At the cap" in text
    assert "Everything that is included is used." in text


def test_the_next_invoice_is_the_plan_and_what_was_used_above_it(tenant: Tenant, page: Page, buy: Buy) -> None:
    buy(tenant, "pro")
    used(tenant, Meter.RECALL, 350_000)
    text = page("billing/")
    assert "$12.00 so far for what is not included." in text
    assert "$41.00" in text


def test_a_cap_of_the_plan_is_said_above_all_with_a_way_out(tenant: Tenant, page: Page) -> None:
    used(tenant, Meter.INGEST, 25_000)
    notice(tenant, "80 % of the operations are used")
    text = page("billing/")
    assert "At the cap of the Free plan: memory operations." in text
    assert text.index("At the cap of") < text.index("80 % of the operations")


def test_a_trial_without_a_card_is_told_that_nothing_is_charged(tenant: Tenant, page: Page, shop: None) -> None:
    start_trial(organization_id=tenant.organization.pk, actor=tenant.actor, plan_key="pro")
    assert "Only if a card is on file then" in page("billing/")


def test_the_line_of_a_period_has_a_table_and_says_each_day(tenant: Tenant, page: Page) -> None:
    used(tenant, Meter.RECALL, 1_234)
    text = page("billing/")
    assert "1,234 operations, 1,234 since the period began" in text
    assert '<th scope="col">Day</th>' in text


def test_the_banner_says_how_much_is_open(tenant: Tenant, page: Page, viewer: Client, home: str) -> None:
    owe(tenant, 1)
    assert "$29.00 is open." in page("billing/")
    assert "$29.00" not in viewer.get(f"{home}usage/").content.decode()


def test_notices_are_shown_until_somebody_puts_them_away(tenant: Tenant, page: Page, post: Page) -> None:
    one = notice(tenant, "80 % of the operations are used")
    assert one.sentence in page("billing/")
    assert "put away" in post(f"billing/notices/{one.pk}/dismiss/")
    assert one.sentence not in page("billing/")
    assert "There is nothing here" in post(f"billing/notices/{tenant.project.pk}/dismiss/", status=404)


def test_another_organizations_notice_is_not_there(tenant: Tenant, stranger: Tenant, post: Page) -> None:
    theirs = notice(stranger, "Theirs")
    post(f"billing/notices/{theirs.pk}/dismiss/", status=404)
    with scope(stranger.organization):
        theirs.refresh_from_db()
    assert theirs.dismissed_at is None


@pytest.mark.parametrize(
    ("days", "title", "css"),
    [
        (0, "A payment did not go through", "notice-warn"),
        (15, "Writes have stopped", "notice-bad"),
        (30, "The service is suspended", "notice-bad"),
        (61, "The subscription has ended", "notice-bad"),
    ],
)
def test_what_is_owed_stands_on_every_page_with_a_way_to_pay(
    tenant: Tenant, page: Page, days: int, title: str, css: str
) -> None:
    owe(tenant, days)
    for path in ("", "projects/", "usage/", "settings/", *(f"billing/{one}" for one in PAGES)):
        text = page(path)
        assert title in text, path
        assert PAY in text, path
        assert f"banner {css}" in text


def test_who_sees_no_money_is_told_whom_to_ask(tenant: Tenant, viewer: Client, home: str) -> None:
    owe(tenant, 15)
    text = viewer.get(home).content.decode()
    assert "Writes have stopped" in text
    assert "An owner or a member for billing can settle it." in text
    assert PAY not in text


def test_nothing_is_said_where_nothing_is_owed(page: Page) -> None:
    assert "banner" not in page("billing/")


def test_the_role_billing_sees_these_pages_and_nothing_else(tenant: Tenant, sign_in: SignIn, home: str) -> None:
    browser = sign_in(add_member(tenant, Role.BILLING, "Bill"))
    for path in ("usage/", *(f"billing/{one}" for one in PAGES)):
        assert browser.get(home + path).status_code == 200, path
    assert browser.get(home)["Location"] == f"{home}billing/"
    text = browser.get(f"{home}billing/").content.decode()
    for path in ("projects/", "keys/", "memory/", "sessions/", "members/", "audit/"):
        assert browser.get(home + path).status_code == 403, path
        assert f'href="{home}{path}' not in text, path
    assert f'href="{home}settings/' not in text


@pytest.mark.parametrize("role", [Role.VIEWER, Role.MEMBER])
def test_who_has_no_right_to_billing_sees_no_money(tenant: Tenant, sign_in: SignIn, home: str, role: Role) -> None:
    browser = sign_in(add_member(tenant, role, "Vic"))
    for path in PAGES:
        assert browser.get(f"{home}billing/{path}").status_code == 403
    for path in ("", "usage/", "settings/"):
        text = browser.get(home + path).content.decode()
        assert not re.search(r"\$\d", text), path
        assert f"{home}billing/" not in text, path


def test_more_use_and_documents_cost_no_more_queries(tenant: Tenant, owner: Client, home: str) -> None:
    def fill(number: int) -> None:
        used(tenant, Meter.RECALL, 10, days_ago=number)
        with scope(tenant.organization):
            Document.objects.create(
                kind=Document.Kind.INVOICE,
                stripe_id=f"in_{tenant.organization.pk}_{number}",
                currency="usd",
                total=29_00,
                status="paid",
                issued_at=timezone.now(),
                synced_at=timezone.now(),
            )

    notice(tenant, "80 % of the operations are used")
    fill(0)
    few = {path: queries(owner, f"{home}billing/{path}") for path in PAGES}
    for number in range(1, 6):
        fill(number)
    assert {path: queries(owner, f"{home}billing/{path}") for path in PAGES} == few
    assert max(few.values()) < 46


def test_the_time_machine_lets_days_pass_in_the_sandbox_alone(
    tenant: Tenant, page: Page, post: Page, settings: Any, buy: Buy
) -> None:
    assert "Time machine" not in page("billing/")
    buy(tenant, "pro")
    assert "Time machine" in page("billing/")
    assert "Sandbox billing: no money moves" in page("billing/")
    assert "7 days have passed" in post("billing/sandbox/advance/", {"days": "7"})
    for days in ("2", "0", "-1", "x", "9" * 400):
        assert "Choose 1, 7, 40 days." in post("billing/sandbox/advance/", {"days": days})
    settings.STRIPE_SANDBOX = False
    assert "Time machine" not in page("billing/")
    post("billing/sandbox/advance/", {"days": "7"}, status=404)


def test_forms_of_these_pages_may_lead_to_stripe_and_nowhere_else(owner: Client, home: str) -> None:
    policy = owner.get(f"{home}billing/plan/")["Content-Security-Policy"]
    assert "form-action 'self' https://*.stripe.com;" in policy
    assert "stripe" not in owner.get(f"{home}settings/")["Content-Security-Policy"]


def test_a_cap_of_ones_own_is_named_on_the_home(tenant: Tenant, page: Page, post: Page) -> None:
    form = {"allowance": "operations", "subject": Level.ORGANIZATION, "amount": 900, "span": "day", "reaction": "warn"}
    post("billing/caps/set/", form)
    text = page("billing/")
    assert "<b>900</b>" in text
    assert "Organization: warn and go on" in text
