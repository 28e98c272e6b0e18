"""Units come from leases without a query, and what is not used goes back."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from django.db import transaction

from billing.metering.meters import Meter
from billing.metering.services import Use, record
from billing.quotas import services
from billing.quotas.leases import leases
from billing.quotas.models import Counter
from billing.quotas.services import QuotaReached, admit
from tenancy.scope import scope
from tests.billing.quotas.conftest import limit, used
from tests.factories import Tenant
from tests.threads import at_once

Counting = Callable[..., Use]


def test_most_checks_ask_nobody(committed: Tenant, use: Counting, django_assert_num_queries: Any) -> None:
    limit(committed, 100_000)
    admit(use(), stamp=1)
    with django_assert_num_queries(0):
        remaining = [admit(use(), stamp=1).remaining for _ in range(99)]
    assert remaining == list(range(99_998, 99_899, -1))
    assert used(committed) == 100, "a thousandth of the limit was leased"


def test_without_a_limit_nothing_is_asked_and_nothing_counted(
    committed: Tenant, use: Counting, django_assert_num_queries: Any
) -> None:
    limit(committed, None)
    assert admit(use(), stamp=1).remaining is None
    with django_assert_num_queries(0):
        assert admit(use(quantity=10**9), stamp=1).remaining is None


def test_a_lease_shrinks_as_the_rest_falls(committed: Tenant, use: Counting) -> None:
    limit(committed, 6_400)
    admit(use(quantity=6_300))
    admit(use())
    assert used(committed) == 6_301, "of the last hundred one at a time"


def test_a_counter_begins_with_what_was_used(committed: Tenant, use: Counting) -> None:
    limit(committed, 10)
    with scope(committed.organization):
        record(use(Meter.SEAL, quantity=4))
        record(use(Meter.READ, quantity=4))
    assert admit(use()).remaining == 5


def test_a_write_finds_the_cap_and_a_recall_goes_on(committed: Tenant, use: Counting) -> None:
    limit(committed, 3)
    assert admit(use(quantity=3)).remaining == 0
    with pytest.raises(QuotaReached) as refused:
        admit(use())
    assert "has used its 3 operations of this billing period" in str(refused.value)
    assert f"http://testserver/o/{committed.organization.slug}/billing/plan/" in str(refused.value)
    assert [admit(use(Meter.RECALL)).remaining for _ in range(2)] == [0, 0]
    leases.give_back(idle=-1.0)
    assert used(committed) == 5, "what went on is counted"


def test_other_meters_draw_on_nothing(tenant: Tenant, use: Counting, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(0):
        assert [admit(use(meter)).remaining for meter in (Meter.READ, Meter.DELETE, Meter.EXPORT)] == [None] * 3


def test_what_lies_idle_is_given_back(committed: Tenant, use: Counting) -> None:
    limit(committed, 100_000)
    admit(use())
    assert leases.give_back() == 0, "in use a moment ago"
    assert leases.give_back(idle=0.0) >= 99
    assert used(committed) == 1


def test_an_operation_that_did_not_happen_takes_nothing(committed: Tenant, use: Counting) -> None:
    limit(committed, 100_000)
    receipt = admit(use(quantity=7))
    services.undo(receipt)
    leases.give_back(idle=-1.0)
    assert used(committed) == 0
    late = admit(use(quantity=7))
    leases.give_back(idle=-1.0)
    services.undo(late)
    leases.give_back(idle=-1.0)
    assert used(committed) == 0, "also when its lease has ended meanwhile"


def test_a_transaction_that_is_undone_gives_back_what_it_took(committed: Tenant, use: Counting) -> None:
    limit(committed, 100_000)
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        raise_after(lambda: admit(use()))
    with pytest.raises(Counter.DoesNotExist):
        used(committed)
    with transaction.atomic():
        admit(use())
    assert used(committed) == 100
    assert leases.give_back(idle=-1.0) >= 99, "the rest of a lease is kept once the transaction has ended well"
    assert used(committed) == 1


def raise_after(work: Callable[[], Any]) -> None:
    """What a failing operation does."""
    work()
    raise ZeroDivisionError


def test_changed_caps_end_a_lease(committed: Tenant, use: Counting) -> None:
    limit(committed, 100_000)
    admit(use(), stamp=1)
    limit(committed, 1)
    assert admit(use(), stamp=1).remaining == 99_998, "as long as nobody says otherwise"
    with pytest.raises(QuotaReached):
        admit(use(), stamp=2)
    leases.give_back(idle=-1.0)
    assert used(committed) == 2


def test_a_lease_ends_and_is_given_back_then(committed: Tenant, use: Counting, monkeypatch: pytest.MonkeyPatch) -> None:
    limit(committed, 100_000)
    admit(use())
    later = time.monotonic() + 90
    monkeypatch.setattr(time, "monotonic", lambda: later)
    admit(use())
    leases.give_back(idle=-1.0)
    assert used(committed) == 2


def test_a_refill_does_not_lengthen_the_lease_of_what_was_held_before(
    committed: Tenant, use: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    limit(committed, 100_000)
    admit(use(), stamp=1)
    now += 50
    admit(use(quantity=150), stamp=1)
    assert used(committed) == 100 + 150
    now += 20
    admit(use(), stamp=1)
    assert used(committed) == 151 + 100, "what was left of the first is back"


def test_where_writes_are_parked_they_ask_each_time_and_many_reads_seldom(
    committed: Tenant, use: Counting, django_assert_num_queries: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    limit(committed, None, features=["parked_writes"])
    with scope(committed.organization):
        services.set_cap(
            actor=committed.actor,
            allowance="operations",
            level="organization",
            subject_id=committed.organization.pk,
            amount=100,
            reaction="park",
        )
    admit(use(Meter.RECALL), stamp=1)
    with django_assert_num_queries(4):
        for _ in range(30):
            admit(use(Meter.RECALL), stamp=1)
    assert used(committed) == 31, "the last question was for sixteen"
    with django_assert_num_queries(2):
        for _ in range(2):
            admit(use(), stamp=1)
    assert used(committed) == 33


def test_reads_at_a_cap_are_counted_beforehand_and_no_write_uses_that(
    committed: Tenant, use: Counting, django_assert_num_queries: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    limit(committed, 3)
    admit(use(quantity=3), stamp=1)
    with django_assert_num_queries(3):
        assert [admit(use(Meter.RECALL), stamp=1).remaining for _ in range(5)] == [0] * 5
    assert used(committed) == 3 + 1 + 2 + 4, "two were counted that have not happened yet"
    with pytest.raises(QuotaReached):
        admit(use(), stamp=1)
    now += 1
    with pytest.raises(QuotaReached):
        admit(use(), stamp=1)
    assert used(committed) == 8, "they went back before the write was answered"
    with django_assert_num_queries(1):
        admit(use(Meter.RECALL), stamp=1)
    for _ in range(4):
        now += 1
        admit(use(Meter.RECALL), stamp=1)
    assert used(committed) == 13, "where reads are few none is counted beforehand"


def test_a_refusal_of_several_is_none_of_fewer(committed: Tenant, use: Counting) -> None:
    limit(committed, 3)
    admit(use(), stamp=1)
    with pytest.raises(QuotaReached):
        admit(use(quantity=3), stamp=1)
    assert admit(use(quantity=2), stamp=1).remaining == 0


def test_what_a_process_holds_itself_keeps_no_write_back(committed: Tenant, use: Counting) -> None:
    limit(committed, 300)
    services.undo(admit(use(quantity=2), stamp=1))
    admit(use(quantity=298), stamp=1)
    assert used(committed) == 300, "two are in the lease"
    with pytest.raises(QuotaReached):
        admit(use(quantity=3), stamp=1)
    assert used(committed) == 298
    assert admit(use(quantity=2), stamp=1).remaining == 0


def test_a_parked_caps_write_that_fails_takes_nothing(committed: Tenant, use: Counting) -> None:
    limit(committed, None, features=["parked_writes"])
    with scope(committed.organization):
        services.set_cap(
            actor=committed.actor,
            allowance="operations",
            level="organization",
            subject_id=committed.organization.pk,
            amount=5,
            reaction="park",
        )
    services.undo(admit(use(quantity=5)))
    assert admit(use(quantity=5)).remaining == 0


def test_threads_at_once_never_pass_the_limit(committed: Tenant, use: Counting) -> None:
    limit(committed, 500)

    def work() -> int:
        admitted = 0
        for _ in range(100):
            try:
                admit(use())
            except QuotaReached:
                continue
            admitted += 1
        return admitted

    assert sum(at_once(*[work] * 8)) == 500
