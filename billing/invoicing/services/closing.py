"""Closes periods: a draft with the period's terms as soon as it is over, its lines and number when late use is in."""

import logging
from collections.abc import Iterator
from datetime import datetime, timedelta
from uuid import UUID

from django.db import DatabaseError

from billing.invoicing.models import Invoice
from billing.invoicing.selectors.periods import Period, periods_over, terms_of
from billing.invoicing.services.collected import link, target
from billing.invoicing.services.lines import write_lines
from billing.metering.services.periods import GRACE
from billing.models import ENDED, BillingAccount, Source, Status, Subscription
from billing.plans import UnknownPlan
from billing.services import dunning
from billing.services.entitlements import recompute
from tenancy.audit import actions
from tenancy.audit.services import SYSTEM, Actor, record
from tenancy.clock import furthest, here
from tenancy.errors import NotFound
from tenancy.models import Organization
from tenancy.scope import scope, unscoped
from tenancy.services import organizations

NET_DAYS = 30
PAGE = 500  # organizations that a sweep asks for at once
log = logging.getLogger("billing.invoicing")


class CloseFailed(Exception):
    """Some organizations' periods could not be closed; the log says why, the next run tries again."""


class NoSuchPeriod(NotFound):
    """The period is not over, or nothing was agreed for it that an invoice could say."""


def close_due(*, now: datetime) -> int:
    """Draft every period that is over and open every draft whose grace has passed; how many were opened.

    Each organization is a transaction of its own, and one that another worker has is left to it. Raises CloseFailed
    once the others are done.
    """
    latest, failed, opened = furthest(now), list[UUID](), 0
    for organization_id in _named("invoicing_periods_over", latest):
        try:
            draft_periods(organization_id=organization_id, now=now)
        except (DatabaseError, UnknownPlan):
            log.exception("invoice.draft_failed organization=%s", organization_id)
            failed.append(organization_id)
    for organization_id in _named("invoicing_drafts", latest - GRACE):
        try:
            opened += open_drafts(organization_id=organization_id, now=now)
        except (DatabaseError, UnknownPlan):
            log.exception("invoice.open_failed organization=%s", organization_id)
            failed.append(organization_id)
    if failed:
        raise CloseFailed(", ".join(map(str, failed)))
    return opened


def close_period(*, actor: Actor, period: Period, now: datetime | None = None) -> Invoice:
    """The invoice of a period of the organization in scope, opened now if it is not yet; once, however often asked.

    Earlier periods that are over are drafted with it. Raises NoSuchPeriod.
    """
    now = now or here()
    organizations.locked()
    if not Invoice.objects.filter(period_start=period[0]).exists():
        _draft_all(now)
    invoice = Invoice.objects.filter(period_start=period[0], period_end=period[1]).first()
    if invoice is None:
        raise NoSuchPeriod("There is no period to be invoiced that begins and ends then.")
    return _open(invoice, actor=actor, now=now)


def draft_periods(*, organization_id: UUID, now: datetime) -> None:
    """Draft one organization's periods that are over at the real moment `now`, unless another worker has it."""
    with scope(organization_id):
        if organization := _mine():
            _draft_all(organization.at(now))


def open_drafts(*, organization_id: UUID, now: datetime) -> int:
    """Open one organization's drafts whose grace has passed at the real moment `now`; how many."""
    with scope(organization_id):
        return _open_all(organization.at(now)) if (organization := _mine()) else 0


def _named(function: str, moment: datetime) -> Iterator[UUID]:
    after = UUID(int=0)
    while True:
        with unscoped(reason="find organizations whose period is over and not invoiced") as wide:
            rows = wide.rows(function, moment, after, PAGE)
        for row in rows:
            after = row["organization_id"]
            yield after
        if len(rows) < PAGE:
            return


def _mine() -> Organization | None:
    """The organization, locked, unless another worker has it or it was purged."""
    return Organization.objects.select_for_update(no_key=True, skip_locked=True).first()


def _draft_all(now: datetime) -> None:
    account = BillingAccount.objects.first()
    for over in periods_over(now):
        period, subscription, contract = over.period, over.subscription, over.contract
        terms = terms_of(over)
        Invoice.objects.create(
            period_start=period[0],
            period_end=period[1],
            source=Invoice.Source.STRIPE if subscription.source == Source.STRIPE else Invoice.Source.MANUAL,
            currency=terms.currency,
            contract=contract,
            terms=terms.as_json(),
            po_number=contract.po_number if contract else account.po_number if account else "",
            created_at=now,
        )
        if contract is not None and period[1] >= contract.ends_at:
            _end(subscription, contract.ends_at)


def _end(subscription: Subscription, ended_at: datetime) -> None:
    """A contract that is over leaves the free plan."""
    if subscription.status not in ENDED:
        subscription.status, subscription.ended_at = Status.CANCELED, ended_at
        subscription.save(update_fields=["status", "ended_at"])
        recompute(actor=SYSTEM)


def _open_all(now: datetime) -> int:
    drafts = Invoice.objects.filter(state=Invoice.State.DRAFT, period_end__lte=now - GRACE)
    in_order = drafts.select_related("contract").order_by("period_start")
    return len([_open(draft, actor=SYSTEM, now=now) for draft in in_order])


def _open(invoice: Invoice, *, actor: Actor, now: datetime) -> Invoice:
    if invoice.state != Invoice.State.DRAFT:
        return invoice
    write_lines(invoice, now=now)
    is_ours = invoice.source == Invoice.Source.MANUAL
    is_settled = is_ours and not invoice.total
    if is_ours:
        invoice.number = _next_number(invoice.organization_id)
    invoice.state = Invoice.State.PAID if is_settled else Invoice.State.OPEN
    invoice.issued_at = now
    if is_ours:
        invoice.due_at = now + timedelta(days=invoice.contract.net_days if invoice.contract else NET_DAYS)
    if is_settled:
        invoice.settled_at, invoice.settlement = now, "Nothing to pay"
    invoice.save()
    record(
        action=actions.INVOICE_OPENED,
        actor=actor,
        target=target(invoice),
        metadata={
            "period": [invoice.period_start.isoformat(), invoice.period_end.isoformat()],
            "total": invoice.total,
            "currency": invoice.currency,
        },
    )
    if not is_ours:
        link(invoice)
    elif not is_settled:
        dunning.payment_due(
            actor=actor,
            invoice_ref=str(invoice),
            amount=invoice.total,
            currency=invoice.currency,
            due_at=invoice.due_at,
            now=now,
        )
    return invoice


def _next_number(organization_id: UUID) -> str:
    """`9F3A0C51D2-0001`, `…-0002`: the lock on the organization makes them follow each other without a gap."""
    opened = Invoice.objects.filter(source=Invoice.Source.MANUAL).exclude(number=None).count()
    return f"{organization_id.hex[-10:].upper()}-{opened + 1:04}"
