"""A paying customer for the pictures and the browser's tests: a plan, a closed month, credits, caps and a notice."""

import random
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from django.db import transaction
from django.utils import timezone

from billing.credits.services import grant
from billing.invoicing import services as invoicing
from billing.metering import ids
from billing.metering.meters import Meter
from billing.metering.models import UsageEvent, UsageHour
from billing.models import BillingAccount, Subscription
from billing.money import month_after
from billing.plans import Allowance
from billing.quotas import services as quotas
from billing.quotas.models import Level, Notice, Reaction, Span
from billing.sandbox import checkout as pages
from billing.sandbox import keys
from billing.sandbox.store import Books
from billing.services import accounts, catalogue, subscriptions
from billing.services.entitlements import recompute
from billing.stripe_client import client
from billing.stripe_events import refresh
from tenancy.audit.services import SYSTEM, Actor
from tenancy.models import ApiKey, Organization, Project
from tenancy.scope import scope

PASSED = 20  # days of the period that runs
LAST_MONTH = 268_400  # operations: more than the plan includes
DETAILS = accounts.Details(
    legal_name="Northwind Labs AB",
    invoice_emails=["bills@northwind.example", "ada@northwind.example"],
    po_number="PO-2026-117",
    address={"line1": "Storgatan 12", "postal_code": "114 51", "city": "Stockholm", "country": "SE"},
)


def pay(organization: Organization, actor: Actor, project: Project, key: ApiKey) -> None:
    """Buy Pro with a card in the simulator, and live through a month and most of the next with it."""
    catalogue.push(client())
    url = subscriptions.checkout(
        organization_id=organization.pk,
        actor=actor,
        plan_key="pro",
        interval="monthly",
        seats=12,
        return_url="http://localhost/",
    )
    session = pages.complete(Books(keys.ACCOUNT), url.rsplit("/", 1)[1], "visa", {})
    refresh("subscription", session["subscription"])
    with scope(organization):
        customer = str(BillingAccount.objects.get().stripe_customer_id)
    for invoice in client().invoices(customer, "paid"):
        refresh("invoice", invoice["id"])
    accounts.set_details(organization_id=organization.pk, actor=actor, details=DETAILS)
    accounts.add_tax_id(organization_id=organization.pk, actor=actor, kind="eu_vat", value="SE556677889901")
    end = timezone.now().replace(minute=0, second=0, microsecond=0) - timedelta(days=PASSED)
    start = month_after(end, -1)
    _began_earlier(session["subscription"], end)
    with scope(organization):
        Subscription.objects.update(created_at=start)
        _last_month(project, key, start)
    with scope(organization):
        recompute(actor=SYSTEM)
        invoicing.close_period(actor=SYSTEM, period=(start, end))
        _this_month(project, key)
        _credits(organization)
        _caps(actor, organization, key)


def _began_earlier(subscription: str, start: datetime) -> None:
    """Let the simulator too say that the period began then: a month cannot be lived through while the camera waits."""
    books = Books(keys.ACCOUNT)
    with transaction.atomic():
        books.lock()
        found = books.get("subscription", subscription)
        found["billing_cycle_anchor"] = int(start.timestamp())
        for item in found["items"]["data"]:
            item["current_period_start"] = int(start.timestamp())
            item["current_period_end"] = int(month_after(start, 1).timestamp())
        books.save(found)
    refresh("subscription", subscription)


def _last_month(project: Project, key: ApiKey, start: datetime) -> None:
    """Raw events and nothing else, so that every line can be explained: four a day, weekends quieter."""
    UsageHour.objects.filter(hour__lt=month_after(start, 1)).delete()
    chance = random.Random(3)  # a picture needs no secret
    moments = [
        (start + timedelta(days=day, hours=hour, minutes=7 * day % 60), meter, share)
        for day in range((month_after(start, 1) - start).days)
        for hour, meter, share in (
            (2, Meter.RECALL, 3),
            (5, Meter.INGEST, 2),
            (9, Meter.RECALL, 4),
            (14, Meter.INGEST, 1),
        )
    ]
    weights = [share * chance.uniform(0.7, 1.2) * (0.5 if at.weekday() >= 5 else 1.0) for at, _, share in moments]
    quantities = [round(LAST_MONTH * weight / sum(weights)) for weight in weights]
    quantities[-1] += LAST_MONTH - sum(quantities)
    UsageEvent.objects.bulk_create(
        UsageEvent(
            id=UUID(int=ids.first(at).int | 7 << 76 | 2 << 62 | uuid4().int & (1 << 62) - 1),
            project_id=project.pk,
            key_id=key.pk,
            meter=meter,
            quantity=quantity,
            end_user=("dana@acme.example", "miguel@globex.example", "yuki@initech.example")[number % 3],
            occurred_at=at,
        )
        for number, ((at, meter, _), quantity) in enumerate(zip(moments, quantities, strict=True))
    )


def _this_month(project: Project, key: ApiKey) -> None:
    chance = random.Random(5)  # a picture needs no secret
    now = timezone.now().replace(minute=0, second=0, microsecond=0)
    daily = ((Meter.RECALL, 7_400), (Meter.INGEST, 2_100), (Meter.STORED_BYTES, 41 * 10**8), (Meter.END_USER, 3_421))
    for back in range(PASSED):
        for meter, ordinary in daily:
            spread = 1.0 if meter in {Meter.STORED_BYTES, Meter.END_USER} else chance.uniform(0.5, 1.4)
            UsageHour.objects.update_or_create(
                project_id=project.pk,
                key_id=key.pk,
                meter=meter,
                hour=now - timedelta(days=back, hours=1),
                defaults={"quantity": round(ordinary * spread), "events": 1},
            )


def _credits(organization: Organization) -> None:
    now = timezone.now()
    for amount, category, reason, priority, days in (
        (50_00, "paid", "Bought by card", 50, None),
        (20_00, "promotional", "Welcome", 10, 20),
        (5_00, "adjustment", "For the outage of 3 November", 20, 60),
    ):
        grant(
            actor=SYSTEM,
            amount=amount,
            currency="usd",
            category=category,
            reason=reason,
            ref=f"{category}:{organization.pk}",
            priority=priority,
            expires_at=now + timedelta(days=days) if days else None,
        )


def _caps(actor: Actor, organization: Organization, key: ApiKey) -> None:
    operations = Allowance.OPERATIONS.value
    quotas.set_cap(
        actor=actor,
        allowance=operations,
        level=Level.ORGANIZATION,
        subject_id=organization.pk,
        amount=400_000,
        reaction=Reaction.STOP,
    )
    quotas.set_cap(
        actor=actor,
        allowance=operations,
        level=Level.KEY,
        subject_id=key.pk,
        amount=20_000,
        reaction=Reaction.WARN,
        span=Span.DAY,
    )
    Notice.objects.create(
        kind=Notice.Kind.THRESHOLD,
        what=operations,
        subject_id=organization.pk,
        span=Span.PERIOD,
        starts_at=timezone.now(),
        limit=400_000,
        percent=50,
        used=200_000,
        sentence="The organization has used 50 % of its 400,000 operations of this billing period.",
    )
