"""What invoices say, who gets them, whom Stripe knows, and the end of it all."""

from typing import Any

import pytest
from django.core import mail
from pytest_django import DjangoCaptureOnCommitCallbacks

from billing.models import BillingAccount, Document, Subscription
from billing.selectors.subscriptions import documents
from billing.services import accounts
from billing.services import documents as money_back
from billing.services.accounts import Details, close_organization, ensure_customer
from billing.stripe_client import client
from billing.stripe_events import refresh
from tenancy.audit import actions
from tenancy.audit.models import AuditEvent
from tenancy.errors import Invalid, NotFound
from tenancy.models import Organization
from tenancy.scope import scope
from tests.billing.services.conftest import Buy
from tests.factories import Tenant, make_tenant
from tests.threads import at_once


def account_of(tenant: Tenant) -> BillingAccount:
    with scope(tenant.organization):
        return BillingAccount.objects.get()


def recorded(tenant: Tenant, action: actions.Action) -> bool:
    with scope(tenant.organization):
        return AuditEvent.objects.filter(action=action.name).exists()


def by(tenant: Tenant) -> dict[str, Any]:
    return {"organization_id": tenant.organization.pk, "actor": tenant.actor}


@pytest.mark.django_db(transaction=True)
def test_several_at_once_make_one_customer() -> None:
    tenant = make_tenant()
    made = at_once(*[lambda: ensure_customer(organization_id=tenant.organization.pk)] * 4)
    assert len(set(made)) == 1
    assert account_of(tenant).stripe_customer_id == made[0]


def test_a_customer_deleted_at_stripe_is_followed_by_another(tenant: Tenant) -> None:
    first = ensure_customer(organization_id=tenant.organization.pk)
    client()._call("delete", f"customers/{first}")
    refresh("customer", first)
    second = ensure_customer(organization_id=tenant.organization.pk)
    assert second not in {first, None}


def test_what_invoices_say_is_told_to_stripe(tenant: Tenant) -> None:
    address = {"line1": "1 High Street", "city": "Dublin", "country": "IE"}
    details = Details("Payer Ltd", ["Pay@Example.com", "books@example.com", "pay@example.com"], "PO-7", address)
    accounts.set_details(**by(tenant), details=details)
    account = account_of(tenant)
    assert account.invoice_emails == ["pay@example.com", "books@example.com"]
    found = client().retrieve("customer", str(account.stripe_customer_id))
    assert (found["name"], found["email"], found["address"]["city"]) == ("Payer Ltd", "pay@example.com", "Dublin")
    assert found["invoice_settings"]["custom_fields"] == [{"name": "Purchase order", "value": "PO-7"}]
    assert recorded(tenant, actions.BILLING_DETAILS_CHANGED)
    refresh("customer", str(account.stripe_customer_id))
    assert account_of(tenant).address["city"] == "Dublin"


@pytest.mark.parametrize(
    ("details", "field"),
    [
        (Details(invoice_emails=["nobody"]), "invoice_emails"),
        (Details(invoice_emails=[f"a{n}@example.com" for n in range(11)]), "invoice_emails"),
        (Details(po_number="x" * 31), "po_number"),
        (Details(legal_name="x" * 201), "legal_name"),
        (Details(address={"planet": "Mars"}), "address"),
        (Details(address={"country": "Ireland"}), "address"),
    ],
)
def test_wrong_details_change_nothing(tenant: Tenant, details: Details, field: str) -> None:
    with pytest.raises(Invalid) as caught:
        accounts.set_details(**by(tenant), details=details)
    assert caught.value.field == field
    with scope(tenant.organization):
        assert not BillingAccount.objects.exists()


def test_a_tax_id_is_checked_by_stripe_and_can_be_taken_off(tenant: Tenant) -> None:
    with pytest.raises(Invalid):
        accounts.add_tax_id(**by(tenant), kind="moon_vat", value="1")
    accounts.add_tax_id(**by(tenant), kind="eu_vat", value=" IE6388047V ")
    [tax_id] = account_of(tenant).tax_ids
    assert (tax_id["type"], tax_id["value"]) == ("eu_vat", "IE6388047V")
    with pytest.raises(NotFound):
        accounts.remove_tax_id(**by(tenant), tax_id="txi_other")
    accounts.remove_tax_id(**by(tenant), tax_id=tax_id["id"])
    assert account_of(tenant).tax_ids == []
    assert recorded(tenant, actions.BILLING_TAX_ID_ADDED)
    assert recorded(tenant, actions.BILLING_TAX_ID_REMOVED)


def newest_invoice(tenant: Tenant) -> Document:
    for found in client()._pages("invoices", {"customer": account_of(tenant).stripe_customer_id}):
        refresh("invoice", found["id"])
    with scope(tenant.organization):
        return documents("invoice")[0]


def test_everybody_who_gets_invoices_is_written_to_once(
    tenant: Tenant, buy: Buy, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    accounts.set_details(**by(tenant), details=Details(invoice_emails=["one@example.com", "two@example.com"]))
    buy(tenant)
    with django_capture_on_commit_callbacks(execute=True):
        invoice = newest_invoice(tenant)
    told = [one.to[0] for one in mail.outbox if invoice.number in one.subject]
    assert sorted(told) == sorted([tenant.owner.email, "one@example.com", "two@example.com"])
    with django_capture_on_commit_callbacks(execute=True):
        newest_invoice(tenant)
    assert len([one for one in mail.outbox if invoice.number in one.subject]) == 3


def test_a_payment_is_refunded_once_and_never_beyond_what_was_paid(tenant: Tenant, buy: Buy) -> None:
    buy(tenant)
    invoice = newest_invoice(tenant)
    for amount in (0, -1, invoice.amount_paid + 1):
        with pytest.raises(Invalid):
            money_back.refund(**by(tenant), document_id=invoice.pk, amount=amount, reason="x")
    money_back.refund(**by(tenant), document_id=invoice.pk, amount=10_00, reason="An hour of downtime")
    with scope(tenant.organization):
        [back] = documents("refund")
    assert (back.total, back.invoice_stripe_id, back.status) == (10_00, invoice.stripe_id, "succeeded")
    with pytest.raises(Invalid):
        money_back.refund(**by(tenant), document_id=invoice.pk, amount=invoice.amount_paid - 9_99, reason="x")
    assert recorded(tenant, actions.BILLING_REFUNDED)


def test_a_credit_note_is_a_document_of_its_own(tenant: Tenant, buy: Buy) -> None:
    buy(tenant)
    invoice = newest_invoice(tenant)
    money_back.credit(**by(tenant), document_id=invoice.pk, amount=5_00, reason="Late")
    with scope(tenant.organization):
        [note] = documents("credit_note")
    assert (note.total, note.amount_due, note.invoice_stripe_id) == (5_00, 0, invoice.stripe_id)
    assert note.pdf_url
    with pytest.raises(Invalid):
        money_back.credit(**by(tenant), document_id=invoice.pk, amount=invoice.total * 2, reason="x")
    assert recorded(tenant, actions.BILLING_CREDITED)


def test_another_s_invoice_is_not_there(tenant: Tenant, stranger: Tenant, buy: Buy) -> None:
    buy(tenant)
    invoice = newest_invoice(tenant)
    for give in (money_back.refund, money_back.credit):
        with pytest.raises(NotFound):
            give(**by(stranger), document_id=invoice.pk, amount=1, reason="x")


def test_closing_an_organization_ends_its_subscription_first(tenant: Tenant, buy: Buy) -> None:
    buy(tenant)
    close_organization(**by(tenant))
    with scope(tenant.organization):
        assert Organization.objects.get().closed_at is not None
        row = Subscription.objects.get()
    assert row.status == "canceled"
    assert client().retrieve("subscription", str(row.stripe_id))["status"] == "canceled"
    assert recorded(tenant, actions.BILLING_CANCEL_ORDERED)
    assert recorded(tenant, actions.ORGANIZATION_CLOSED)


def test_an_organization_that_never_paid_is_closed_without_stripe(tenant: Tenant, settings: Any) -> None:
    settings.STRIPE_SANDBOX = False
    close_organization(**by(tenant))
    with scope(tenant.organization):
        assert Organization.objects.get().closed_at is not None
