"""A price can be granted beside the plan: previews, invoices and the signed copy have it, until it ends."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.utils import timezone

from billing.invoicing.selectors.periods import Over, terms_of
from billing.models import EntitlementOverride, Source, Subscription
from billing.plans import Allowance, current
from billing.selectors.entitlements import effective
from billing.selectors.snapshots import snapshot
from billing.services import entitlements
from billing.services.catalogue import differences
from billing.services.changes import apply_change, preview_change
from billing.services.entitlements import ApprovalNeeded
from billing.services.seats import preview_seats, set_seats, sync
from billing.stripe_client import client
from tenancy.audit import actions
from tenancy.audit.models import AuditEvent
from tenancy.audit.services import Actor
from tenancy.errors import Invalid
from tenancy.scope import scope
from tests.billing.services.conftest import Buy
from tests.billing.services.test_seats import customer_of, pass_days, subscription_of
from tests.factories import Tenant

PRO = current("pro")
STAFF, SECOND = Actor("staff", "1", "staff@example.com"), Actor("staff", "2", "second@example.com")


def grant(tenant: Tenant, key: str, value: int, *, days: float = 400, **more: Any) -> EntitlementOverride:
    """Grant a price."""
    until = timezone.now() + timedelta(days=days)
    with scope(tenant.organization):
        return entitlements.grant_override(
            actor=STAFF, key=key, value=value, reason="Agreed on the phone", expires_at=until, **more
        )


def bring_into_step(tenant: Tenant) -> None:
    """What a job does when a price was granted or has ended."""
    sync(organization_id=tenant.organization.pk)


def newest_invoice(tenant: Tenant) -> dict[str, Any]:
    """The customer's newest."""
    found: dict[str, Any] = next(client()._pages("invoices", {"customer": customer_of(tenant)}))
    return found


def amounts(invoice: dict[str, Any]) -> list[int]:
    """What its lines come to, without those that come to nothing."""
    return sorted(line["amount"] for line in invoice["lines"]["data"] if line["amount"])


def test_the_next_invoice_has_the_granted_prices(tenant: Tenant, buy: Buy) -> None:
    buy(tenant, seats=12)
    grant(tenant, "price:pro:monthly", 19_00)
    grant(tenant, "price:pro:seat", 4_50)
    bring_into_step(tenant)
    assert newest_invoice(tenant)["total"] == PRO.monthly + 2 * PRO.seat, "what is paid stays"
    pass_days(tenant, 32)
    assert amounts(newest_invoice(tenant)) == [2 * 4_50, 19_00]
    assert (subscription_of(tenant).plan, subscription_of(tenant).seats) == (PRO, 12)
    with scope(tenant.organization):
        assert AuditEvent.objects.filter(action=actions.BILLING_PRICES_CHANGED.name).count() == 1
    bring_into_step(tenant)
    with scope(tenant.organization):
        assert AuditEvent.objects.filter(action=actions.BILLING_PRICES_CHANGED.name).count() == 1, "nothing to do"
    assert differences(client()) == [], "such a price is none of the catalogue's"


def test_the_catalogue_s_price_comes_back_when_it_ends(tenant: Tenant, buy: Buy) -> None:
    buy(tenant)
    granted = grant(tenant, "price:pro:monthly", 19_00)
    bring_into_step(tenant)
    with scope(tenant.organization):
        entitlements.end_override(actor=STAFF, override_id=granted.pk)
    bring_into_step(tenant)
    pass_days(tenant, 32)
    assert newest_invoice(tenant)["total"] == PRO.monthly


def test_a_granted_seat_is_previewed_and_charged(tenant: Tenant, buy: Buy) -> None:
    buy(tenant)
    usual = preview_seats(organization_id=tenant.organization.pk)
    grant(tenant, "price:pro:seat", 4_50)
    bring_into_step(tenant)
    seen = preview_seats(organization_id=tenant.organization.pk)
    assert (usual.monthly, seen.monthly) == (9_00, 4_50)
    assert abs(usual.charge - 2 * seen.charge) <= 2
    set_seats(organization_id=tenant.organization.pk, actor=tenant.actor, seats=11)
    assert abs(subscription_of(tenant).seat_line_amount - seen.charge) <= 1  # a second may pass in between
    pass_days(tenant, 32)
    line = subscription_of(tenant)
    assert line.seats == 11
    assert amounts(newest_invoice(tenant))[-2:] == [4_50, PRO.monthly]


def test_the_preview_of_another_plan_is_its_invoice(tenant: Tenant, buy: Buy) -> None:
    buy(tenant)
    grant(tenant, "price:pro:monthly", 19_00)
    grant(tenant, "price:scale:monthly", 199_00)
    bring_into_step(tenant)
    seen = preview_change(organization_id=tenant.organization.pk, plan_key="scale", interval="monthly", seats=0)
    assert seen.next_invoice == 199_00
    apply_change(organization_id=tenant.organization.pk, actor=tenant.actor, token=seen.token)
    assert newest_invoice(tenant)["amount_due"] == seen.due_now
    pass_days(tenant, 32)
    assert newest_invoice(tenant)["total"] == 199_00


def test_who_buys_with_a_granted_price_pays_it_from_the_first_day(tenant: Tenant, buy: Buy) -> None:
    grant(tenant, "price:pro:yearly", 240_00)
    buy(tenant, interval="yearly")
    assert newest_invoice(tenant)["total"] == 240_00
    assert subscription_of(tenant).plan == PRO


def test_the_entitlements_and_their_signed_copy_say_it(tenant: Tenant, buy: Buy) -> None:
    buy(tenant)
    with scope(tenant.organization):
        before = snapshot().entitlements
    grant(tenant, "price:pro:seat", 4_50)
    with scope(tenant.organization):
        after, entitled = snapshot().entitlements, effective()
    assert before["prices"] == {"monthly": 29_00, "yearly": 290_00, "seat": 9_00, "currency": "usd"}
    assert after["prices"] == before["prices"] | {"seat": 4_50}
    assert after["included"]["seats"] == {"quantity": 10, "overage": "450"}
    assert after["version"] == before["version"] + 1
    assert (entitled.plan.seat, entitled.plan.monthly) == (4_50, 29_00)


def test_our_own_invoices_are_priced_by_it(tenant: Tenant) -> None:
    now = timezone.now()
    with scope(tenant.organization):
        row = Subscription(
            plan_key="pro", plan_version=1, status="active", source=Source.MANUAL, seats=12, period_start=now
        )
    held = tuple(
        EntitlementOverride(key=key, value=value) for key, value in (("price:pro:monthly", 1), ("price:pro:seat", 2))
    )
    over = Over((now, now + timedelta(days=30)), None, row, None, held, ())
    terms = terms_of(over)
    assert (terms.fee, terms.allowances[Allowance.SEATS].overage) == (1, Decimal(2))
    other = tuple(EntitlementOverride(key="price:scale:monthly", value=1) for _ in range(1))
    assert terms_of(Over(over.period, None, row, None, other, ())).fee == PRO.monthly, "another plan's"


def test_a_fifth_of_a_price_needs_a_second_person(tenant: Tenant) -> None:
    assert grant(tenant, "price:pro:monthly", 5_80).holds_from
    waits = grant(tenant, "price:pro:monthly", 5_79)
    assert waits.holds_from is None
    with scope(tenant.organization):
        with pytest.raises(ApprovalNeeded):
            entitlements.approve_override(actor=STAFF, override_id=waits.pk)
        assert entitlements.approve_override(actor=SECOND, override_id=waits.pk).holds_from
    for wrong in (-1, 1.5, None, True):
        with pytest.raises(Invalid):
            grant(tenant, "price:pro:seat", wrong)  # type: ignore[arg-type]
    with pytest.raises(Invalid):
        grant(tenant, "price:free:monthly", 1)
