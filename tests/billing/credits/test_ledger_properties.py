"""Whatever the order of grants, burns, voids, expiries and repetitions: the ledger sums to the balance, exactly."""

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
from tenancy.audit.services import SYSTEM
from tenancy.scope import scope
from tests.factories import make_tenant

START = datetime(2026, 1, 1, tzinfo=UTC)
CATEGORIES = st.sampled_from(["paid", "promotional", "adjustment"])
AMOUNTS = st.integers(1, 200)


@dataclass(slots=True)
class Known:
    """A grant as a careful person would keep it in a list."""

    pk: UUID
    priority: int
    expires_at: datetime | None
    remaining: int


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
        self.known.append(Known(made.pk, priority, values["expires_at"], amount))

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
            for account in Account.objects.annotate(sum=Sum("entries__amount")):
                assert account.balance == (account.sum or 0)
            assert held[AccountKind.BALANCE] == sum(g.remaining for g in Grant.objects.all())
            for use in selectors.grants():
                assert use.grant.amount == use.grant.remaining + use.burned + use.expired + use.voided
                assert min(use.grant.remaining, use.burned, use.expired, use.voided) >= 0


@pytest.mark.django_db
def test_the_ledger_always_sums_to_the_balance() -> None:
    run_state_machine_as_test(
        Ledger,
        settings=settings(
            max_examples=12,
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
