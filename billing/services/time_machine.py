"""Lets time pass for an organization that the simulator bills, with all that it brings, in the order in which it would.

It lives through every day: renewals, retries, reminders, debts, letters, credits that expire, periods that are over.
What is used stays on the real clock.
"""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.utils import timezone

from billing.credits import cashier
from billing.credits.models import Grant, InvoiceCredit
from billing.credits.services import deductions
from billing.credits.services.ledger import expire
from billing.invoicing.services import closing
from billing.models import ENDED, Subscription
from billing.sandbox import clock
from billing.services import dunning, entitlements, meter_pushes, trials
from billing.services.accounts import customer_of, ensure_customer
from billing.services.unpaid import end_unpaid_subscription
from billing.stripe_events import HANDLED, refresh
from tenancy.audit import actions
from tenancy.audit.services import Actor, Target, record
from tenancy.clock import here
from tenancy.errors import Invalid, NotFound
from tenancy.models import Organization
from tenancy.scope import scope
from tenancy.services import organizations

LEAPS = (1, 7, 40)  # days
DAY = timedelta(days=1)
DRAFT_IS_THERE = timedelta(minutes=1)  # after a period's end


def advance(*, organization_id: UUID, actor: Actor, days: int) -> datetime:
    """Let so many days pass for the organization; its time then.

    To be called outside a scope. Raises NotFound where Stripe itself is asked, Invalid for a leap that is not in LEAPS,
    Conflict where nothing was ever bought or agreed on.
    """
    if not settings.STRIPE_SANDBOX:
        raise NotFound("There is no time machine here.")
    if days not in LEAPS:
        raise Invalid("days", f"Choose {', '.join(map(str, LEAPS))} days.")
    customer = _customer(organization_id)
    meter_pushes.push(organization_id=organization_id)  # what was used until now belongs to the period until now
    left, mark = timedelta(days=days), 0
    while left:
        step = min(left, DAY, _until_renewal(organization_id) or DAY)
        clock.advance(customer, step)
        _set_clock(organization_id, customer)
        mark = _live(organization_id, customer, mark)
        left -= step
    with scope(organization_id):
        target = Target("billing_account", customer, customer)
        record(action=actions.BILLING_TIME_PASSED, actor=actor, target=target, metadata={"days": days})
        return here()


def _customer(organization_id: UUID) -> str:
    """Whose time passes; who has a contract alone becomes a customer for it, whose clock is not behind."""
    with scope(organization_id):
        has_agreed = Subscription.objects.exists()
    customer = ensure_customer(organization_id=organization_id) if has_agreed else customer_of(organization_id)
    with scope(organization_id):
        behind = Organization.objects.get().clock_ahead - clock.ahead_of(customer)
    if behind > timedelta(0):  # another customer had come so far
        clock.advance(customer, behind)
    return customer


def _until_renewal(organization_id: UUID) -> timedelta | None:
    """How long until the draft of the next renewal is there, if one comes: drafts stand for an hour alone."""
    with scope(organization_id):
        row = Subscription.objects.exclude(status__in=ENDED).exclude(stripe_id=None).first()
        left = row.period_end + DRAFT_IS_THERE - here() if row else timedelta(0)
    return timedelta(seconds=int(left.total_seconds())) if left >= timedelta(seconds=1) else None


def _set_clock(organization_id: UUID, customer: str) -> None:
    """The organization's own clock is its customer's."""
    ahead = clock.ahead_of(customer)
    with scope(organization_id):
        organization = organizations.locked()
        organization.clock_ahead = ahead
        organization.save(update_fields=["clock_ahead"])


def _live(organization_id: UUID, customer: str, mark: int) -> int:
    """Do at once what events after `mark` and the sweeps would lead to by and by; the mark after those events."""
    told, mark = clock.told_after(customer, mark)
    for kind, object_id in told:
        if kind in HANDLED:
            refresh(kind, object_id)
    _pay_drafts(organization_id)
    now = timezone.now()
    dunning.advance(organization_id=organization_id, now=now)
    end_unpaid_subscription(organization_id=organization_id)
    trials.remind(organization_id=organization_id, now=now)
    with scope(organization_id):
        over = Grant.objects.filter(remaining__gt=0, expires_at__lte=here())
        expire(currencies=sorted(set(over.values_list("currency", flat=True))), now=here())
    entitlements.recompute_one(organization_id=organization_id)
    closing.close_due(now=now, only=organization_id)
    return mark


def _pay_drafts(organization_id: UUID) -> None:
    """Put credits that were burned for a draft onto it while it stands."""
    with scope(organization_id):
        burned = list(InvoiceCredit.objects.filter(state=InvoiceCredit.State.BURNED))
    for credit in burned:
        deductions.deduct(
            organization_id=organization_id, credit_id=credit.pk, deductor=cashier.deduct, now=timezone.now()
        )


def time_of(customer: str) -> datetime:
    """The customer's own time in the simulator."""
    return datetime.fromtimestamp(clock.now_of(customer), UTC)
