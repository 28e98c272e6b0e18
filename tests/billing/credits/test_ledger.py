"""Credits are granted, burned in order, voided and expired; each once, and never more than there are."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from billing.credits import selectors, tasks
from billing.credits.models import Account, AccountKind, Grant, Transaction
from billing.credits.services import ledger
from billing.credits.services.ledger import (
    CreditsExhausted,
    ExpiryFailed,
    NothingToVoid,
    RefReused,
    burn,
    expire_due,
    grant,
    void,
)
from tenancy.audit import actions
from tenancy.audit import selectors as trail
from tenancy.audit.services import SYSTEM
from tenancy.errors import Invalid, NotFound
from tenancy.scope import scope
from tests.billing.credits.conftest import Give
from tests.factories import Tenant, make_tenant
from tests.threads import at_once

NOW = datetime(2026, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def spend(amount: int, **values: Any) -> Transaction:
    """Burn dollars' cents."""
    defaults: dict[str, Any] = {"actor": SYSTEM, "currency": "usd", "ref": uuid4().hex}
    return burn(amount=amount, **(defaults | values))


def burned_of(transaction: Transaction) -> dict[Any, int]:
    """How much of each grant a transaction took."""
    rows = transaction.entries.filter(account__kind=AccountKind.BURNED)
    return dict(rows.values_list("grant_id", "amount"))


def test_a_grant_says_how_much_of_what_why_and_by_whom(tenant: Tenant) -> None:
    with scope(tenant.organization):
        made = grant(
            actor=tenant.actor,
            amount=10_000,
            currency="usd",
            category="promotional",
            reason=" Welcome ",
            ref="welcome",
            priority=10,
            expires_at=NOW + DAY,
            now=NOW,
        )
        stored = Grant.objects.get()
        assert stored == made
        assert (stored.amount, stored.remaining, stored.priority, stored.category) == (
            10_000,
            10_000,
            10,
            "promotional",
        )
        assert (stored.reason, stored.author["label"], stored.created_at) == ("Welcome", tenant.owner.email, NOW)
        assert str(stored) == "promotional 10000 of 10000 usd"
        assert selectors.balance("usd", now=NOW) == 10_000
        assert selectors.balance("eur", now=NOW) == 0
        [event] = [e for e in trail.events() if e.action == actions.CREDITS_GRANTED.name]
        assert (event.metadata, event.reason) == ({"amount": 10_000, "currency": "usd"}, "Welcome")


def test_a_burn_takes_by_priority_then_by_expiry_then_by_age(tenant: Tenant, give: Give) -> None:
    with scope(tenant.organization):
        last = give(100, priority=90, expires_at=NOW + DAY, now=NOW)
        forever_old, forever_new = give(100, now=NOW), give(100, now=NOW)
        late = give(100, expires_at=NOW + 9 * DAY, now=NOW)
        soon = give(100, expires_at=NOW + 2 * DAY, now=NOW)
        first = give(100, priority=0, now=NOW)
        order = [first, soon, late, forever_old, forever_new, last]
        assert list(selectors.in_burn_order("usd", NOW)) == order
        for grant_ in order:
            assert burned_of(spend(100, now=NOW)) == {grant_.pk: 100}


def test_a_burn_goes_over_as_many_grants_as_it_needs(tenant: Tenant, give: Give) -> None:
    with scope(tenant.organization):
        one, two, three = (give(amount) for amount in (70, 20, 50))
        burned = spend(100)
        assert burned.amount == 100
        assert burned_of(burned) == {one.pk: 70, two.pk: 20, three.pk: 10}
        assert selectors.balance("usd") == 40
        assert [use.burned for use in selectors.grants()] == [10, 20, 70]
        assert actions.CREDITS_BURNED.name in [event.action for event in trail.events()]


def test_more_than_there_is_burns_nothing(tenant: Tenant, give: Give) -> None:
    with scope(tenant.organization):
        give(99)
        with pytest.raises(CreditsExhausted, match="99"):
            spend(100)
        assert selectors.balance("usd") == 99


def test_a_partial_burn_takes_what_there_is_and_stays_what_it_was(tenant: Tenant, give: Give) -> None:
    with scope(tenant.organization):
        assert spend(100, is_partial=True, ref="invoice-0").amount == 0
        give(60)
        assert spend(100, is_partial=True, ref="invoice-1").amount == 60
        give(60)
        assert spend(100, is_partial=True, ref="invoice-0").amount == 0
        assert spend(100, is_partial=True, ref="invoice-1").amount == 60
        assert selectors.balance("usd") == 60


def test_a_repeated_reference_moves_nothing_and_another_movement_under_it_is_refused(
    tenant: Tenant, give: Give
) -> None:
    with scope(tenant.organization):
        assert give(100, ref="a") == give(100, ref="a")
        assert spend(30, ref="b") == spend(30, ref="b")
        assert selectors.balance("usd") == 70
        for again in (
            lambda: give(101, ref="a"),
            lambda: give(100, ref="b"),
            lambda: spend(31, ref="b"),
            lambda: spend(30, ref="b", currency="eur"),
        ):
            with pytest.raises(RefReused):
                again()
        assert selectors.balance("usd") == 70


def test_a_void_takes_what_remains_once_and_leaves_what_was_burned(tenant: Tenant, give: Give) -> None:
    with scope(tenant.organization):
        made = give(100)
        spend(30)
        gone = void(actor=tenant.actor, grant_id=made.pk, reason="A mistake")
        assert void(actor=tenant.actor, grant_id=made.pk, reason="A mistake") == gone
        assert (gone.amount, selectors.balance("usd")) == (70, 0)
        [use] = selectors.grants()
        assert (use.burned, use.voided, use.expired) == (30, 70, 0)
        assert [e.action for e in trail.events()].count(actions.CREDITS_VOIDED.name) == 1
        spent = give(10)
        spend(10)
        with pytest.raises(NothingToVoid):
            void(actor=tenant.actor, grant_id=spent.pk, reason="Too late")


def test_the_grant_of_another_organization_is_not_found(tenant: Tenant, stranger: Tenant, give: Give) -> None:
    with scope(stranger.organization):
        theirs = give(100)
    with scope(tenant.organization), pytest.raises(NotFound):
        void(actor=tenant.actor, grant_id=theirs.pk, reason="Mine now")
    with scope(tenant.organization):
        assert selectors.entries() == []
        assert selectors.grants() == []


def test_an_expired_grant_counts_no_more_even_before_the_sweep(tenant: Tenant, give: Give) -> None:
    with scope(tenant.organization):
        made = give(100, expires_at=NOW + DAY, now=NOW)
        assert selectors.balance("usd", now=NOW + DAY - timedelta(microseconds=1)) == 100
        assert selectors.balance("usd", now=NOW + DAY) == 0
        with pytest.raises(CreditsExhausted):
            spend(1, now=NOW + DAY)
        with pytest.raises(NothingToVoid):
            void(actor=SYSTEM, grant_id=made.pk, reason="Late", now=NOW + DAY)


def test_the_sweep_expires_what_remains_of_everybody_once(tenant: Tenant, stranger: Tenant, give: Give) -> None:
    for each in (tenant, stranger):
        with scope(each.organization):
            give(100, expires_at=NOW + DAY, now=NOW)
            give(40, expires_at=NOW + DAY, now=NOW, currency="eur")
            give(100, expires_at=NOW + 2 * DAY, now=NOW)
            give(100, now=NOW)
            spend(30, now=NOW)
    assert expire_due(now=NOW + DAY) >= 4
    assert expire_due(now=NOW + DAY) == 0
    for each in (tenant, stranger):
        with scope(each.organization):
            assert selectors.balance("usd", now=NOW + DAY) == 200
            assert selectors.accounts("usd")[AccountKind.EXPIRED] == 70
            assert selectors.accounts("eur")[AccountKind.EXPIRED] == 40
            assert [e.action for e in trail.events()].count(actions.CREDITS_EXPIRED.name) == 2


def test_the_task_expires_by_the_clock(tenant: Tenant, give: Give) -> None:
    with scope(tenant.organization):
        give(100, expires_at=NOW + DAY, now=NOW)
    tasks.expire_credits()
    with scope(tenant.organization):
        assert selectors.accounts("usd")[AccountKind.EXPIRED] == 100


def test_sweeps_at_once_expire_a_grant_once(committed: Tenant, give: Give) -> None:
    with scope(committed.organization):
        give(100, expires_at=NOW + DAY, now=NOW)
    at_once(*[lambda: expire_due(now=NOW + DAY)] * 4)
    with scope(committed.organization):
        assert selectors.accounts("usd")[AccountKind.EXPIRED] == 100
        assert Transaction.objects.filter(kind=Transaction.Kind.EXPIRY).count() == 1


def test_one_organization_that_fails_does_not_keep_the_others_credits(
    tenant: Tenant, stranger: Tenant, give: Give, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for each in (tenant, stranger):
        with scope(each.organization):
            give(100, expires_at=NOW + DAY, now=NOW)
    with scope(tenant.organization):  # its reference is taken, so that the sweep cannot post
        give(1, now=NOW, ref=f"expiry:{Grant.objects.get().pk}")
    with pytest.raises(ExpiryFailed, match=str(tenant.organization.pk)):
        expire_due(now=NOW + DAY)
    assert "credits.expiry_failed" in caplog.text
    with scope(stranger.organization):
        assert selectors.accounts("usd")[AccountKind.EXPIRED] == 100
    with scope(tenant.organization):
        assert selectors.accounts("usd")[AccountKind.EXPIRED] == 0


def test_a_sweep_goes_on_past_its_page(
    tenant: Tenant, stranger: Tenant, give: Give, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "PAGE", 1)
    for each in (tenant, stranger):
        with scope(each.organization):
            give(100, expires_at=NOW + DAY, now=NOW)
    assert expire_due(now=NOW + DAY) >= 2


def test_eight_that_burn_at_once_never_overspend(committed: Tenant, give: Give) -> None:
    with scope(committed.organization):
        for _ in range(3):
            give(100)

    def work() -> list[bool]:
        done = []
        for _ in range(8):
            try:
                with scope(committed.organization):
                    spend(7)
            except CreditsExhausted:
                done.append(False)
            else:
                done.append(True)
        return done

    results = [is_done for each in at_once(*[work] * 8) for is_done in each]
    assert results.count(True) == 300 // 7
    with scope(committed.organization):
        assert selectors.balance("usd") == 300 % 7
        assert selectors.accounts("usd")[AccountKind.BURNED] == 300 // 7 * 7


def test_a_reference_that_comes_eight_times_at_once_moves_once(committed: Tenant) -> None:
    def work() -> Grant:
        with scope(committed.organization):
            return grant(actor=SYSTEM, amount=100, currency="usd", category="paid", reason="Top-up", ref="payment-1")

    assert len({made.pk for made in at_once(*[work] * 8)}) == 1
    with scope(committed.organization):
        assert selectors.balance("usd") == 100
        assert Account.objects.count() == len(AccountKind)


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("amount", {"amount": 0}),
        ("amount", {"amount": -1}),
        ("amount", {"amount": 10**12 + 1}),
        ("currency", {"currency": "USD"}),
        ("currency", {"currency": "usdt"}),
        ("category", {"category": "gift"}),
        ("priority", {"priority": -1}),
        ("priority", {"priority": 101}),
        ("expires_at", {"expires_at": NOW}),
        ("reason", {"reason": "  "}),
        ("reason", {"reason": "a\0b"}),
        ("reason", {"reason": "x" * 201}),
        ("ref", {"ref": ""}),
    ],
)
def test_a_senseless_grant_is_refused(field: str, values: dict[str, Any], tenant: Tenant, give: Give) -> None:
    with scope(tenant.organization):
        with pytest.raises(Invalid) as refusal:
            give(**({"amount": 100, "now": NOW} | values))
        assert refusal.value.field == field
        assert selectors.entries() == []


def test_a_burn_of_less_than_nothing_is_refused(tenant: Tenant) -> None:
    with scope(tenant.organization), pytest.raises(Invalid):
        spend(-5)


def test_transactions_are_read_page_by_page_with_their_entries(tenant: Tenant, give: Give) -> None:
    with scope(tenant.organization):
        give(100)
        spend(40)
        spend(10)
        newest, older = selectors.entries(limit=2)
        [oldest] = selectors.entries(after=older.pk)
        assert [t.kind for t in (newest, older, oldest)] == ["burn", "burn", "grant"]
        moved = {(e.account.kind, e.amount) for e in newest.entries.all()}
        assert moved == {("balance", -10), ("burned", 10)}
        assert str(newest).startswith("burn 10 usd")


def test_only_what_was_paid_for_becomes_revenue(tenant: Tenant, give: Give) -> None:
    with scope(tenant.organization):
        give(30, category="promotional", priority=0)
        give(100)
        spend(50, now=NOW)
        spend(5, now=NOW + DAY)
        assert selectors.earned("usd", since=NOW, until=NOW + DAY) == {"paid": 20, "promotional": 30}


def test_accounts_say_what_they_hold(tenant: Tenant, give: Give) -> None:
    with scope(make_tenant().organization):
        give(1)
    with scope(tenant.organization):
        give(100)
        made = give(20, category="adjustment", priority=99)
        spend(40)
        void(actor=SYSTEM, grant_id=made.pk, reason="Test")
        held = selectors.accounts("usd")
        assert held == {
            "paid": -100, "promotional": 0, "adjustment": -20, "balance": 60, "burned": 40, "expired": 0, "voided": 20,
            "owed": 0,
        }  # fmt: skip
        assert sum(held.values()) == 0
