"""Closes periods, in one loop for everybody: over, with a draft of its terms; closed when late use is in; invoiced.

Each step leaves rows that say what is left to do, so whoever is killed anywhere is followed by the next run.
"""

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

import orjson
from django.db import DatabaseError, models, transaction
from django.utils import timezone

from billing import announcements
from billing.invoicing.models import Contract, Invoice
from billing.invoicing.selectors import periods
from billing.invoicing.selectors.periods import Due, Over, Ready
from billing.invoicing.services.collected import link, target
from billing.invoicing.services.lines import write_lines
from billing.metering import ids
from billing.metering.services.periods import close_over
from billing.models import ENDED, Status, Subscription
from billing.periods import Period
from billing.plans import UnknownPlan
from billing.services import dunning
from billing.services.entitlements import recompute
from tenancy.audit import actions
from tenancy.audit.services import SYSTEM, Actor, record
from tenancy.errors import NotFound
from tenancy.models import Organization
from tenancy.scope import current_organization_id, scope, unscoped
from tenancy.services import organizations

NET_DAYS = 30
log = logging.getLogger("billing.invoicing")


class CloseFailed(Exception):
    """Some organizations' periods could not be closed; the log says why, the next run tries again."""


class NoSuchPeriod(NotFound):
    """The period is not over, or nothing was agreed for it that an invoice could say."""


def close_due(*, now: datetime, only: UUID | None = None, actor: Actor = SYSTEM) -> int:
    """End every period that is over, close those whose grace has passed, invoice them; how many invoices were opened.

    `now` is the real moment; each organization goes by its own clock. Of one organization with `only`. Periods end and
    close a page of organizations at once; an invoice is a transaction of its own. What another worker has is left to
    it. Raises CloseFailed once the others are done.
    """
    failed: set[UUID] = set()
    for page in periods.due(now, only=only):
        failed |= _end(page)
    failed |= set(close_over(now=now, organization_id=only))
    opened = 0
    for drafts in periods.ready(now, only=only):
        for of_one in drafts:
            organization_id = of_one[0].invoice.organization_id
            try:
                with scope(organization_id):
                    opened += _open_all(of_one, actor)
            except DatabaseError:
                log.exception("invoice.open_failed organization=%s", organization_id)
                failed.add(organization_id)
    if failed:
        raise CloseFailed(", ".join(map(str, sorted(failed))))
    return opened


def close_period(*, actor: Actor, period: Period, now: datetime | None = None) -> Invoice:
    """The invoice of a period of the organization in scope, brought as far as it can be; once, however often asked.

    It is a draft until the grace has passed. Earlier periods come first. Raises NoSuchPeriod and CloseFailed.
    """
    organizations.locked()
    close_due(now=now or timezone.now(), only=current_organization_id(), actor=actor)
    invoice = Invoice.objects.filter(period_start=period[0], period_end=period[1]).first()
    if invoice is None:
        raise NoSuchPeriod("There is no period to be invoiced that begins and ends then.")
    return invoice


# --- Over ---


def _end(page: Sequence[Due]) -> set[UUID]:
    """End the periods of a page and make their drafts; whose could not be, each of them tried by itself."""
    failed, made = set[UUID](), list[tuple[Due, Sequence[tuple[Over, Invoice | None]]]]()
    for one in page:
        try:
            made.append((one, periods.drafted(one)))
        except UnknownPlan:
            log.exception("invoice.draft_failed organization=%s", one.organization_id)
            failed.add(one.organization_id)
    try:
        _write(made)
    except DatabaseError:
        if len(made) > 1:
            return failed.union(*(_end([one]) for one, _ in made))
        log.exception("invoice.draft_failed organization=%s", made[0][0].organization_id)
        failed.add(made[0][0].organization_id)
    else:
        for one, _ in made:
            for contract in one.ended:
                with scope(one.organization_id):
                    _end_contract(contract)
    return failed


def _write(made: Sequence[tuple[Due, Sequence[tuple[Over, Invoice | None]]]]) -> None:
    ended = [_ended(one, over) for one, found in made for over, _ in found]
    drafts = [_as_json(draft) for _, found in made for _, draft in found if draft is not None]
    if ended:
        with transaction.atomic(), unscoped(reason="periods of every organization end a page at once") as wide:
            wide.rows("invoicing_end_periods", _json(ended), _json(drafts))


def _ended(one: Due, over: Over) -> dict[str, object]:
    start, end = over.period
    return {
        "id": ids.mint(),
        "organization_id": one.organization_id,
        "starts_at": start,
        "ends_at": end,
        "follows": over.follows,
    }


def _as_json(row: models.Model) -> dict[str, object]:
    return {str(field.column): field.value_from_object(row) for field in row._meta.concrete_fields}


def _json(value: object) -> str:
    return orjson.dumps(value).decode()


def _end_contract(contract: Contract) -> None:
    """A contract that is over leaves the free plan."""
    organizations.locked()
    subscription = Subscription.objects.exclude(status__in=ENDED).filter(contract=contract).first()
    if subscription is not None:
        subscription.status, subscription.ended_at = Status.CANCELED, contract.ends_at
        subscription.save(update_fields=["status", "ended_at"])
        recompute(actor=SYSTEM)


# --- Invoiced ---


def _open_all(drafts: Sequence[Ready], actor: Actor) -> int:
    """Open the drafts of the organization in scope, unless another worker has it or was faster; how many were."""
    if not Organization.objects.select_for_update(no_key=True, skip_locked=True).exists():
        return 0
    keys = [one.invoice.pk for one in drafts]
    left = set(Invoice.objects.filter(pk__in=keys, state=Invoice.State.DRAFT).values_list("pk", flat=True))
    waiting = [one for one in drafts if one.invoice.pk in left]
    numbered = waiting[0].numbers if waiting else 0
    for one in waiting:
        numbered += one.invoice.source == Invoice.Source.MANUAL
        _open(one, numbered, actor)
    return len(waiting)


def _open(ready: Ready, number: int, actor: Actor) -> None:
    """Write an invoice from its closed period. The lock on the organization makes numbers follow without a gap."""
    invoice, now = ready.invoice, ready.moment
    write_lines(invoice, seen=ready.seen, late=ready.late, now=now, has_credits=ready.has_credits)
    is_ours = invoice.source == Invoice.Source.MANUAL
    is_settled = is_ours and not invoice.total
    invoice.state = Invoice.State.PAID if is_settled else Invoice.State.OPEN
    invoice.issued_at = now
    due_at = now + timedelta(days=invoice.contract.net_days if invoice.contract else NET_DAYS)
    if is_ours:
        invoice.number = f"{invoice.organization_id.hex[-10:].upper()}-{number:04}"
        invoice.due_at = due_at
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
            due_at=due_at,
            now=now,
        )
    announcements.invoice_closed(invoice)
    if is_settled:
        announcements.invoice_paid(invoice)
