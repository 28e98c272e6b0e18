"""Writes how far an unpaid invoice takes an organization: access by the clock, letters up the ladder, and the way back.

What happens follows from the clock and an invoice's date alone: retries, repetitions and disorder change nothing.
Dunning takes access away and gives it back; it never deletes anything.
"""

import logging
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime, timedelta
from uuid import UUID

from django.db import transaction

from billing import announcements, letters
from billing.credits.services.checks import clean_text
from billing.dunning_terms import DunningState, Terms
from billing.models import ENDED, Debt, Dunning, Subscription
from billing.money import Money
from billing.selectors.dunning import ladder, owed, terms_for
from billing.services.entitlements import recompute
from capsule_cloud.lib.jobs import enqueue
from tenancy.audit import actions
from tenancy.audit.services import SYSTEM, Actor, Target, record
from tenancy.clock import furthest, here
from tenancy.models import Organization
from tenancy.scope import scope, unscoped
from tenancy.services import organizations

LOOK_AGAIN = timedelta(hours=1)  # whether the subscription has ended that nobody pays for
PAGE = 500  # organizations that the sweep asks for at once
log = logging.getLogger("billing.dunning")
ACCESS: Mapping[str, Organization.Access] = {
    DunningState.OK: Organization.Access.FULL,
    DunningState.PAST_DUE: Organization.Access.FULL,
    DunningState.RESTRICTED: Organization.Access.READ_ONLY,
    DunningState.SUSPENDED: Organization.Access.SUSPENDED,
    DunningState.CANCELLED: Organization.Access.SUSPENDED,
}
SUBJECTS: Mapping[str, str] = {
    DunningState.OK: "Thank you: everything is paid",
    DunningState.PAST_DUE: "A payment did not arrive",
    DunningState.RESTRICTED: "Writes have stopped: an invoice is unpaid",
    DunningState.SUSPENDED: "Your service is suspended: an invoice is unpaid",
    DunningState.CANCELLED: "Your subscription has ended; your data is still here",
}


class AdvanceFailed(Exception):
    """Some organizations could not be looked at; the log says why, the next run tries again."""


def payment_failed(
    *,
    actor: Actor,
    invoice_ref: str,
    amount: int,
    currency: str,
    failed_at: datetime,
    pay_url: str = "",
    now: datetime | None = None,
) -> Dunning:
    """An invoice of the organization in scope was not paid: `amount` minor units are owed since `failed_at`.

    The earliest failure counts, so a retry extends nothing; of an invoice that is settled nothing is heard any more.
    Where it is said to have failed later than `now`, that is now: clocks differ, and a simulated one is far ahead.
    """
    now = max(now or here(), failed_at)
    with transaction.atomic():
        organization = organizations.locked()
        debt, is_new = Debt.objects.get_or_create(invoice_ref=invoice_ref, defaults={"currency": currency})
        if debt.settled_at is None:
            is_new = is_new or debt.failed_at is None
            debt.failed_at = min(debt.failed_at or failed_at, failed_at)
            debt.amount, debt.currency, debt.pay_url = amount, currency, pay_url or debt.pay_url
            debt.save(update_fields=["failed_at", "amount", "currency", "pay_url"])
            if is_new:
                record(
                    action=actions.PAYMENT_FAILED,
                    actor=actor,
                    target=_target(debt),
                    metadata={"amount": amount, "currency": currency},
                )
                announcements.payment_failed(
                    invoice=invoice_ref, amount=amount, currency=currency, since=debt.failed_at
                )
        return _advance(organization, now)


def payment_due(
    *,
    actor: Actor,
    invoice_ref: str,
    amount: int,
    currency: str,
    due_at: datetime,
    pay_url: str = "",
    now: datetime | None = None,
) -> Dunning:
    """An invoice of the organization in scope is to be paid by transfer until `due_at`; after that it is overdue.

    Of an invoice that is settled nothing is heard any more.
    """
    now = now or here()
    with transaction.atomic():
        organization = organizations.locked()
        debt, _ = Debt.objects.get_or_create(invoice_ref=invoice_ref, defaults={"currency": currency})
        if debt.settled_at is None:
            debt.is_by_card, debt.failed_at = False, due_at
            debt.amount, debt.currency, debt.pay_url = amount, currency, pay_url
            debt.save(update_fields=["is_by_card", "failed_at", "amount", "currency", "pay_url"])
        return _advance(organization, now)


def payment_succeeded(
    *, actor: Actor, invoice_ref: str, currency: str = "", at: datetime | None = None, now: datetime | None = None
) -> Dunning | None:
    """Nothing is owed for an invoice any more: it is paid, void or forgiven, `at` or now. Once and for good.

    Returns where the organization stands then, or None when it never owed anything. What is heard of the invoice's
    failures later changes nothing; `currency` is kept for that.
    """
    now = now or here()
    with transaction.atomic():
        organization = organizations.locked()
        # kept also where no failure is known: that may be told later than it happened
        debt, _ = Debt.objects.get_or_create(invoice_ref=invoice_ref, defaults={"currency": currency})
        if debt.settled_at is None:
            debt.settled_at = at or now
            debt.save(update_fields=["settled_at"])
            if debt.failed_at is not None:
                record(
                    action=actions.PAYMENT_RECOVERED,
                    actor=actor,
                    target=_target(debt),
                    metadata={"amount": debt.amount, "currency": debt.currency},
                )
        return _advance(organization, now) if Dunning.objects.exists() else None


def set_terms(*, actor: Actor, terms: Terms, reason: str, now: datetime | None = None) -> Dunning:
    """Agree on other terms with the organization in scope, an open episode included. Raises Invalid: say why."""
    now = now or here()
    reason = clean_text("reason", reason)
    with transaction.atomic():
        organization = organizations.locked()
        dunning, _ = Dunning.objects.get_or_create(defaults={"since": now})
        before, dunning.terms = dunning.terms or {}, asdict(terms)
        dunning.save(update_fields=["terms"])
        record(
            action=actions.DUNNING_TERMS_SET,
            actor=actor,
            target=organizations.target(organization),
            changes=actions.DUNNING_TERMS_SET.changed(before, dunning.terms),
            reason=reason,
        )
        return _advance(organization, now)


def advance(*, organization_id: UUID, now: datetime) -> Dunning:
    """Bring one organization to where it stands at the real moment `now`."""
    with scope(organization_id):
        organization = organizations.locked()
        return _advance(organization, organization.at(now))


def advance_due(*, now: datetime) -> int:
    """Bring every organization to where the clock says it stands; returns how many were looked at.

    Each is a transaction of its own. One that fails does not keep the others: it is logged, and AdvanceFailed is raised
    after them.
    """
    latest, looked_at, failed, after = furthest(now), 0, [], UUID(int=0)
    while True:
        with unscoped(reason="find organizations whose unpaid invoices reach the next step") as wide:
            due = wide.rows("billing_dunning_due", latest, after, PAGE)
        for row in due:
            after = row["organization_id"]
            try:
                advance(organization_id=after, now=now)
                looked_at += 1
            except Exception:
                log.exception("dunning.advance_failed organization=%s", after)
                failed.append(str(after))
        if len(due) < PAGE:
            break
    if failed:
        raise AdvanceFailed(", ".join(failed))
    return looked_at


def _advance(organization: Organization, now: datetime) -> Dunning:
    """State, access and letters as the debts and the clock say; under the organization's lock."""
    dunning, _ = Dunning.objects.get_or_create(defaults={"since": now})
    # clocks differ: Stripe's, and those of our machines
    now = dunning.seen_at = max(now, dunning.seen_at or now)
    debts = owed()
    states = [terms_for(debt, dunning).state(debt.failed_at, now) for debt in debts if debt.failed_at]
    state = max(states, key=lambda reached: reached.badness, default=DunningState.OK)
    before = DunningState(dunning.state)
    if state is not before:
        _move(dunning, organization, before, state, now)
    steps = ladder(debts, dunning)
    passed = [step for step in steps if step.at <= now]
    later = [step for step in steps if step.at > now]
    worse_at = next((step.at for step in later if step.state.badness > state.badness), None)
    if state is not before:
        announcements.access_changed(before=before, after=state, at=now, changes_at=worse_at)
    if passed and (dunning.told_at is None or passed[-1].at > dunning.told_at):
        # one letter: a sweep that was late does not make up for it with many
        dunning.told_at = passed[-1].at
        overdue = [debt for debt in debts if debt.failed_at and debt.failed_at <= now]
        _tell(state, overdue, worse_at)
    elif state is DunningState.OK and before is not state:
        _tell(state, [], None)
    if not passed:
        dunning.told_at = None
    dunning.next_at = later[0].at if later else None
    if state is DunningState.CANCELLED and Subscription.objects.exclude(status__in=ENDED).exists():
        enqueue("billing.end_unpaid_subscription", organization_id=organization.pk)
        dunning.next_at = now + LOOK_AGAIN
    dunning.save()
    return dunning


def _move(
    dunning: Dunning, organization: Organization, before: DunningState, state: DunningState, now: datetime
) -> None:
    was = {"state": before, "access": organization.access}
    dunning.state, dunning.since = state, now
    if organization.access != ACCESS[state]:
        organization.access = ACCESS[state]
        organization.save(update_fields=["access"])
        recompute(actor=SYSTEM)  # data planes elsewhere hear of it by a new version
    action = actions.DUNNING_WORSENED if state.badness > before.badness else actions.DUNNING_EASED
    changes = action.changed(was, {"state": state, "access": organization.access})
    record(action=action, actor=SYSTEM, target=organizations.target(organization), changes=changes)
    log.info("dunning.moved organization=%s from=%s to=%s", organization.pk, before, state)


def _tell(state: DunningState, debts: list[Debt], changes_at: datetime | None) -> None:
    letters.send(
        template=f"dunning_{state.value}",
        subject=SUBJECTS[state],
        context={
            "debts": [{"amount": str(Money(debt.amount, debt.currency)), "pay_url": debt.pay_url} for debt in debts],
            "changes_at": changes_at,
            "is_by_card": any(debt.is_by_card for debt in debts),
        },
    )


def _target(debt: Debt) -> Target:
    return Target("invoice", debt.invoice_ref, debt.invoice_ref)
