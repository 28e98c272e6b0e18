"""Keeps who pays: the customer at Stripe, what invoices are made out to, and the end of it all.

Nothing here may be called inside a scope: Stripe is asked in between, and never in an open transaction.
"""

from dataclasses import asdict, dataclass, field
from uuid import UUID

from django.core.exceptions import ValidationError
from django.core.validators import validate_email

from billing.models import ENDED, BillingAccount, SeatPolicy, Source, Subscription
from billing.services.entitlements import recompute
from billing.services.projection import target_of
from billing.stripe_client import StripeRefused, client
from billing.stripe_events import refresh
from capsule_cloud.lib.jobs import enqueue
from tenancy.audit import actions
from tenancy.audit.services import Actor, Target, record
from tenancy.errors import Conflict, Invalid, NotFound
from tenancy.models import Organization
from tenancy.scope import scope
from tenancy.services import organizations

MOST_EMAILS = 10
ADDRESS_LENGTHS = {"line1": 200, "line2": 200, "city": 100, "state": 100, "postal_code": 20, "country": 2}


@dataclass(frozen=True, slots=True)
class Details:
    """What invoices say about the customer, and where they are sent."""

    legal_name: str = ""
    invoice_emails: list[str] = field(default_factory=list)
    po_number: str = ""
    address: dict[str, str] = field(default_factory=dict)


def account_target(account: BillingAccount) -> Target:
    """The payer as an audit target."""
    return Target("billing_account", str(account.pk), account.legal_name or account.stripe_customer_id or "")


def locked_account() -> BillingAccount:
    """The payer in scope, made if need be, locked."""
    organizations.locked()
    account, _ = BillingAccount.objects.get_or_create()
    return account


def ensure_customer(*, organization_id: UUID) -> str:
    """The organization's customer at Stripe, made if need be; called by several at once, they get the same one.

    Raises StripeUnavailable, StripeRefused or NotFound.
    """
    with scope(organization_id):
        account = locked_account()
        organization = Organization.objects.get()
    if account.stripe_customer_id:
        return account.stripe_customer_id
    # a customer that was deleted at Stripe has left the time of that behind: the next one is another
    generation = int(account.synced_at.timestamp()) if account.synced_at else 0
    made = client().create_customer(
        organization_id=str(organization_id),
        name=account.legal_name or organization.name,
        email=account.invoice_emails[0] if account.invoice_emails else "",
        key=f"customer:{account.pk}:{generation}",
    )
    with scope(organization_id):
        account = locked_account()
        if account.stripe_customer_id is None:
            account.stripe_customer_id = made["id"]
            account.save(update_fields=["stripe_customer_id"])
    return account.stripe_customer_id


def customer_of(organization_id: UUID) -> str:
    """The organization's customer at Stripe. Raises Conflict where it has never bought anything."""
    with scope(organization_id):
        account = BillingAccount.objects.first()
    if account is None or not account.stripe_customer_id:
        raise Conflict("There is nothing to pay here yet: choose a plan first.")
    return account.stripe_customer_id


def set_details(*, organization_id: UUID, actor: Actor, details: Details) -> None:
    """Change what invoices say and who gets them. Raises Invalid, StripeUnavailable or StripeRefused.

    Stripe writes to the first address; the others get our own mail with the link to the invoice.
    """
    details = _clean(details)
    customer = ensure_customer(organization_id=organization_id)
    with scope(organization_id):
        account = locked_account()
        changes = actions.BILLING_DETAILS_CHANGED.change(account, asdict(details))
        account.save(update_fields=["legal_name", "po_number", "invoice_emails", "address"])
        record(action=actions.BILLING_DETAILS_CHANGED, actor=actor, target=account_target(account), changes=changes)
        name = details.legal_name or Organization.objects.get().name
    fields = [{"name": "Purchase order", "value": details.po_number}] if details.po_number else ""
    form = {
        "name": name,
        "email": details.invoice_emails[0] if details.invoice_emails else "",
        "address": details.address or "",
        "invoice_settings": {"custom_fields": fields},
    }
    client().update_customer(customer, form, key="")


def _clean(details: Details) -> Details:
    emails = list(dict.fromkeys(email.strip().lower() for email in details.invoice_emails if email.strip()))
    if len(emails) > MOST_EMAILS:
        raise Invalid("invoice_emails", f"At most {MOST_EMAILS} addresses get the invoices.")
    for email in emails:
        try:
            validate_email(email)
        except ValidationError:
            raise Invalid("invoice_emails", f"{email} is no e-mail address.") from None
    po_number, name = details.po_number.strip(), details.legal_name.strip()
    if len(po_number) > 30:  # Stripe's limit of a custom field
        raise Invalid("po_number", "A purchase order's number has at most 30 characters.")
    if len(name) > 200:  # the column's
        raise Invalid("legal_name", "A name has at most 200 characters.")
    address = {name: str(value).strip() for name, value in details.address.items() if str(value).strip()}
    for part, value in address.items():
        if len(value) > ADDRESS_LENGTHS.get(part, 0):
            raise Invalid("address", f"The address has no {part} like that.")
    return Details(name, emails, po_number, address)


def add_tax_id(*, organization_id: UUID, actor: Actor, kind: str, value: str) -> None:
    """A tax id for invoices, such as `eu_vat`; Stripe checks it. Raises Invalid where it refuses, StripeUnavailable."""
    customer = ensure_customer(organization_id=organization_id)
    try:
        client().add_tax_id(customer, kind, value.strip(), key=f"tax-id:{customer}:{kind}:{value.strip()}")
    except StripeRefused as refusal:
        raise Invalid("tax_id", str(refusal)) from refusal
    with scope(organization_id):
        target = account_target(locked_account())
        record(action=actions.BILLING_TAX_ID_ADDED, actor=actor, target=target, metadata={"type": kind})
    refresh("customer", customer)


def remove_tax_id(*, organization_id: UUID, actor: Actor, tax_id: str) -> None:
    """Take a tax id off invoices to come. Raises NotFound, StripeUnavailable."""
    customer = customer_of(organization_id)
    with scope(organization_id):
        account = locked_account()
        kind = next((one["type"] for one in account.tax_ids if one["id"] == tax_id), None)
        if kind is None:
            raise NotFound("There is no such tax id.")
    client().remove_tax_id(customer, tax_id)
    with scope(organization_id):
        target = account_target(account)
        record(action=actions.BILLING_TAX_ID_REMOVED, actor=actor, target=target, metadata={"type": kind})
    refresh("customer", customer)


def set_seat_policy(*, organization_id: UUID, actor: Actor, policy: str) -> None:
    """Choose which people are paid for, and so how many may come; a job counts them at once. Raises Invalid."""
    if policy not in SeatPolicy.values:
        raise Invalid("seat_policy", f"Choose one of: {', '.join(SeatPolicy.values)}.")
    with scope(organization_id):
        account = locked_account()
        if account.seat_policy != policy:
            changes = actions.BILLING_DETAILS_CHANGED.change(account, {"seat_policy": policy})
            account.save(update_fields=["seat_policy"])
            target = account_target(account)
            record(action=actions.BILLING_DETAILS_CHANGED, actor=actor, target=target, changes=changes)
            recompute(actor=actor)
            if Subscription.objects.exclude(status__in=ENDED).filter(source=Source.STRIPE).exists():
                enqueue("billing.sync_subscription", organization_id=organization_id)


def close_organization(*, organization_id: UUID, actor: Actor) -> Organization:
    """Close the organization, and end at once what it pays for: usage so far is invoiced, nothing is given back.

    The subscription ends first: where Stripe cannot be reached, nothing is closed, and nobody pays for what is gone.
    Raises StripeUnavailable or NotFound.
    """
    with scope(organization_id):
        live = Subscription.objects.exclude(status__in=ENDED).first()
    if live is not None and live.source == Source.STRIPE and live.stripe_id:
        _end(live.stripe_id)
    with scope(organization_id):
        closed = organizations.close(actor=actor)
        if live is not None:
            record(action=actions.BILLING_CANCEL_ORDERED, actor=actor, target=target_of(live))
    return closed


def _end(subscription: str) -> None:
    try:
        client().end_subscription(subscription, key="")
    except StripeRefused as refusal:
        if refusal.code != "resource_missing":
            raise
    refresh("subscription", subscription)
