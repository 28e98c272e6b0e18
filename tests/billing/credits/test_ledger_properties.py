"""Whatever the order of grants, burns, voids, expiries, refunds and repetitions: the ledger sums to the balance."""

from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import connection, transaction
from django.db.models import Sum
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from billing.credits import selectors
from billing.credits.models import Account, AccountKind, Entry, Grant
from billing.credits.services import CreditsExhausted, NothingToVoid, burn, expire_due, grant, void
from billing.credits.services.refunds import restore, take_back
from billing.credits.services.top_ups import request, settle
from tenancy.audit.services import SYSTEM
from tenancy.scope import scope
from tests.factories import make_tenant

START = datetime(2026, 1, 1, tzinfo=UTC)
CATEGORIES = st.sampled_from(["paid", "promotional", "adjustment"])
AMOUNTS = st.integers(1, 200)
DEFAULT_PRIORITY = 50


@dataclass(slots=True)
class Known:
    """A grant as a careful person would keep it in a list."""

    pk: UUID
    priority: int
    expires_at: datetime | None
    remaining: int
    amount: int = 0
    invoice: str = ""  # that paid for it
    spent: int = 0  # and not owed


@dataclass(slots=True)
class Back:
    """Money that went back, and what it took along."""

    ref: str
    of: Known
    amount: int
    voided: int
    owed: int
    has_failed: bool = False


class Ledger(RuleBasedStateMachine):
    """Does what customers, staff and the clock do, and keeps a simple list beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.stack.enter_context(transaction.atomic())
        self.tenant = make_tenant()
        self.now = START
        self.known: list[Known] = []
        self.burns: list[dict[str, Any]] = []
        self.refunds: list[Back] = []
        self.owed = 0
        self.count = 0

    def teardown(self) -> None:
        """Check what PostgreSQL checks at commit, and take everything back."""
        with connection.cursor() as cursor:
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        transaction.set_rollback(True)
        self.stack.close()

    def ref(self) -> str:
        """A new reference."""
        self.count += 1
        return f"ref-{self.count}"

    def alive(self) -> list[Known]:
        """What can be burned, in order."""
        alive = [g for g in self.known if g.remaining and (g.expires_at is None or g.expires_at > self.now)]
        far = datetime.max.replace(tzinfo=UTC)
        return sorted(alive, key=lambda g: (g.priority, g.expires_at or far))

    @rule(amount=AMOUNTS, category=CATEGORIES, priority=st.integers(0, 3), days=st.none() | st.integers(1, 9))
    def grants(self, amount: int, category: str, priority: int, days: int | None) -> None:
        """Somebody gives or pays."""
        values: dict[str, Any] = {
            "actor": SYSTEM, "amount": amount, "currency": "usd", "category": category, "reason": "x",
            "ref": self.ref(), "priority": priority, "now": self.now,
            "expires_at": self.now + timedelta(days=days) if days else None,
        }  # fmt: skip
        with scope(self.tenant.organization):
            made = grant(**values)
            assert grant(**values) == made
        self.known.append(Known(made.pk, priority, values["expires_at"], amount, amount))
        if category == "paid":
            self.repays(self.known[-1])

    def repays(self, bought: Known) -> None:
        """What is owed is paid first by what is paid for."""
        part = min(self.owed, bought.remaining)
        self.owed -= part
        bought.remaining -= part
        bought.spent += part

    @rule(amount=AMOUNTS.map(lambda amount: 500 + amount))
    def buys(self, amount: int) -> None:
        """A customer buys credits, and the news of it comes twice."""
        invoice = self.ref()
        with scope(self.tenant.organization):
            wish = request(actor=SYSTEM, amount=amount, currency="usd", now=self.now)
            for _ in range(2):
                settle(top_up_id=wish.pk, payment_ref=invoice, now=self.now)
            [made] = Grant.objects.filter(entries__transaction__ref=f"top-up:{wish.pk}").distinct()
        self.known.append(Known(made.pk, DEFAULT_PRIORITY, None, amount, amount, invoice))
        self.repays(self.known[-1])

    @precondition(lambda self: any(g.invoice for g in self.known))
    @rule(data=st.data())
    def gives_money_back(self, data: st.DataObject) -> None:
        """A payment goes back, in part or whole; no more than there was."""
        chosen = data.draw(st.sampled_from([g for g in self.known if g.invoice]))
        left = chosen.amount - sum(one.amount for one in self.refunds if one.of is chosen and not one.has_failed)
        if not left:
            return
        amount = data.draw(st.integers(1, left))
        voided = min(chosen.remaining, amount)
        owed = min(chosen.spent, amount - voided)
        back = Back(self.ref(), chosen, amount, voided, owed)
        for _ in range(2):
            with scope(self.tenant.organization):
                take_back(
                    invoice_ref=chosen.invoice,
                    refund_ref=back.ref,
                    amount=amount,
                    total=chosen.amount,
                    now=self.now,
                )
        chosen.remaining -= voided
        chosen.spent -= owed
        self.owed += owed
        self.refunds.append(back)

    @precondition(lambda self: self.refunds)
    @rule(data=st.data())
    def a_refund_fails(self, data: st.DataObject) -> None:
        """The bank sends the money back to us; what was paid of the debt since comes as other credits."""
        back = data.draw(st.sampled_from(self.refunds))
        with scope(self.tenant.organization):
            restore(refund_ref=back.ref, now=self.now)
            if back.has_failed:
                return
            still = min(back.owed, self.owed)
            if still < back.owed:
                ref = f"refund-failed:{back.ref}:repaid"
                rest = Grant.objects.get(entries__transaction__ref=ref, entries__amount__gt=0)
                self.known.append(Known(rest.pk, DEFAULT_PRIORITY, None, rest.amount, rest.amount))
                assert rest.amount == back.owed - still
        back.has_failed = True
        back.of.remaining += back.voided
        back.of.spent += still
        self.owed -= still

    @rule(amount=AMOUNTS, is_partial=st.booleans())
    def burns_some(self, amount: int, is_partial: bool) -> None:
        """Usage is paid for, in order."""
        alive = self.alive()
        there_is = sum(g.remaining for g in alive)
        call: dict[str, Any] = {
            "actor": SYSTEM, "amount": amount, "currency": "usd", "ref": self.ref(), "is_partial": is_partial,
            "now": self.now,
        }  # fmt: skip
        with scope(self.tenant.organization):
            if there_is < amount and not is_partial:
                with pytest.raises(CreditsExhausted), transaction.atomic():
                    burn(**call)
                return
            done = burn(**call)
        assert done.amount == min(amount, there_is)
        self.burns.append(call | {"moved": done.amount})
        for each in alive:
            part = min(each.remaining, amount)
            each.remaining -= part
            each.spent += part
            amount -= part

    @precondition(lambda self: self.burns)
    @rule(data=st.data())
    def repeats_a_burn(self, data: st.DataObject) -> None:
        """A request comes again."""
        call = dict(data.draw(st.sampled_from(self.burns)))
        moved = call.pop("moved")
        with scope(self.tenant.organization):
            assert burn(**call).amount == moved

    @precondition(lambda self: self.known)
    @rule(data=st.data())
    def voids(self, data: st.DataObject) -> None:
        """Staff takes a grant back."""
        chosen = data.draw(st.sampled_from(self.known))
        with scope(self.tenant.organization):
            try:
                with transaction.atomic():
                    void(actor=SYSTEM, grant_id=chosen.pk, reason="x", now=self.now)
            except NothingToVoid:
                assert chosen not in self.alive()
        if chosen in self.alive():
            chosen.remaining = 0

    @rule(days=st.integers(1, 4), is_swept=st.booleans())
    def time_passes(self, days: int, is_swept: bool) -> None:
        """The clock moves; the sweep may be late."""
        self.now += timedelta(days=days)
        if is_swept:
            expire_due(now=self.now)

    @invariant()
    def the_books_agree(self) -> None:
        """Entries, kept sums, grants and the list say the same."""
        with scope(self.tenant.organization):
            assert selectors.balance("usd", now=self.now) == sum(g.remaining for g in self.alive())
            assert (Entry.objects.aggregate(sum=Sum("amount"))["sum"] or 0) == 0
            held = selectors.accounts("usd")
            assert sum(held.values()) == 0
            assert selectors.owed("usd") == self.owed
            for account in Account.objects.annotate(sum=Sum("entries__amount")):
                assert account.balance == (account.sum or 0)
            assert held[AccountKind.BALANCE] == sum(g.remaining for g in Grant.objects.all())
            for use in selectors.grants():
                assert use.grant.amount == use.grant.remaining + use.burned + use.expired + use.voided + use.repaid
                assert min(use.grant.remaining, use.burned, use.expired, use.voided, use.repaid) >= 0


@pytest.mark.django_db
def test_the_ledger_always_sums_to_the_balance() -> None:
    run_state_machine_as_test(
        Ledger,
        settings=settings(
            max_examples=20,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
