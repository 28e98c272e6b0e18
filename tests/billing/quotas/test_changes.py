"""Right after a cap, a plan or a process ends no write passes what holds then: whatever is used was counted before."""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from django.db import connections, transaction

from billing.metering.meters import Meter
from billing.metering.services import Use
from billing.plans import Allowance
from billing.quotas import selectors, services
from billing.quotas.leases import Leases, leases
from billing.quotas.services import QuotaReached, admit, catch_up
from tenancy.models import Organization
from tenancy.scope import scope
from tests.billing.quotas.conftest import limit, used
from tests.billing.quotas.test_counters import do
from tests.factories import Tenant

Counting = Callable[..., Use]
PROCESSES = 8


def cap(tenant: Tenant, amount: int, *, level: str = "organization", reaction: str = "stop") -> None:
    """Choose a cap on operations; every process hears of it."""
    of = {"organization": tenant.organization, "project": tenant.project, "key": tenant.key}
    with scope(tenant.organization):
        services.set_cap(
            actor=tenant.actor,
            allowance="operations",
            level=level,
            subject_id=of[level].pk,
            amount=amount,
            reaction=reaction,
        )


@pytest.fixture
def go_on_as(monkeypatch: pytest.MonkeyPatch) -> Callable[[Leases], None]:
    """Goes on as the process whose leases these are: of the others' it knows nothing."""
    return lambda mine: monkeypatch.setattr(services, "leases", mine)


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Lets a second pass; otherwise the clock of leases stands."""
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)

    def pass_by() -> None:
        nonlocal now
        now += 1

    return pass_by


def writes(use: Counting) -> int:
    """How many writes are admitted before one is refused."""
    done = 0
    while True:
        try:
            admit(use())
        except QuotaReached:
            return done
        done += 1


@pytest.mark.parametrize("level", ["organization", "project", "key"])
def test_reads_at_a_cap_count_when_it_is_raised(committed: Tenant, use: Counting, level: str) -> None:
    limit(committed, None)
    cap(committed, 3, level=level)
    assert writes(use) == 3
    for _ in range(5):
        admit(use(Meter.RECALL))
    cap(committed, 10, level=level)
    assert writes(use) == 2


def test_reads_at_a_cap_count_when_the_plan_is_upgraded(committed: Tenant, use: Counting) -> None:
    limit(committed, 3)
    assert writes(use) == 3
    for _ in range(5):
        admit(use(Meter.RECALL))
    limit(committed, 10)
    assert writes(use) == 2


def test_reads_of_another_process_count_when_a_cap_is_raised(
    committed: Tenant, use: Counting, go_on_as: Callable[[Leases], None], later: Callable[[], None]
) -> None:
    limit(committed, None)
    cap(committed, 3)
    assert writes(use) == 3
    for _ in range(5):
        admit(use(Meter.RECALL))
    go_on_as(Leases())
    cap(committed, 20)
    assert writes(use) == 11, "one was counted beforehand, and may happen yet"
    leases.forget(committed.organization.pk)
    leases.give_back()
    later()
    assert writes(use) == 1


def test_reads_below_a_cap_that_parks_count_for_every_process(
    committed: Tenant, use: Counting, go_on_as: Callable[[Leases], None]
) -> None:
    limit(committed, None, features=["parked_writes"])
    cap(committed, 10, reaction="park")
    for _ in range(7):
        admit(use(Meter.RECALL))
    go_on_as(Leases())
    assert writes(use) == 3


def _read_and_die(use: Use, reads: int) -> None:
    for _ in range(reads):
        admit(use)
    os.kill(os.getpid(), signal.SIGKILL)


def test_reads_of_a_killed_process_count(committed: Tenant, use: Counting) -> None:
    limit(committed, None)
    cap(committed, 3)
    assert writes(use) == 3
    connections.close_all()  # a child must not end its parent's connection
    child = multiprocessing.get_context("fork").Process(target=_read_and_die, args=(use(Meter.RECALL), 7))
    child.start()
    child.join()
    cap(committed, 20)
    assert 20 - 3 - 7 - 7 <= writes(use) <= 20 - 3 - 7


@pytest.mark.parametrize("level", ["organization", "project", "key"])
def test_a_cap_below_use_stops_at_once(committed: Tenant, use: Counting, level: str) -> None:
    limit(committed, None)
    cap(committed, 100_000, level=level)
    for _ in range(7):
        admit(use())
    cap(committed, 5, level=level)
    assert writes(use) == 0
    cap(committed, 9, level=level)
    assert writes(use) == 2, "what was held under the first cap is back"


def test_what_is_held_by_no_key_ends_with_its_cap(
    committed: Tenant, use: Counting, go_on_as: Callable[[Leases], None]
) -> None:
    limit(committed, 100_000)
    admit(use())
    go_on_as(Leases())
    limit(committed, 50)
    with scope(committed.organization):
        services.ask_anew()
    go_on_as(leases)
    assert writes(use) == 49, "jobs and the console bring no stamp, and hear of it nevertheless"


def test_within_a_transaction_what_is_on_its_way_back_is_not_back_yet(committed: Tenant, use: Counting) -> None:
    limit(committed, None)
    cap(committed, 100_000)
    admit(use())
    cap(committed, 50)
    with pytest.raises(QuotaReached), transaction.atomic():
        admit(use())
    assert writes(use) == 49


def _until_refused(use: Use, stamp: str) -> int:
    done = 0
    while True:
        try:
            admit(use, stamp=stamp)
        except QuotaReached:
            return done
        done += 1


def _hold_and_go_on(use: Use, held: Any, changed: Any, results: Any) -> None:
    """One process: takes a lease under the old plan, and goes on under the new one until it is refused."""
    admit(use, stamp="old")
    _change(held, changed)
    done = 1
    for _ in range(3):
        done += _until_refused(use, "new")
        leases.give_back(idle=-1.0)
    results.put(done)
    connections.close_all()


def _read_on_and_write(use: Use, held: Any, changed: Any, results: Any) -> None:
    """One process: writes up to the old cap, reads on, and writes up to the new one."""
    done = _until_refused(use, "old")
    for _ in range(20):
        admit(replace(use, meter=Meter.RECALL), stamp="old")
    _change(held, changed)
    done += 20 + _until_refused(use, "new")
    leases.give_back(idle=-1.0)
    results.put(done)
    connections.close_all()


def _change(held: Any, changed: Any) -> None:
    held.wait()
    changed.wait()


def race(child: Callable[..., None], use: Use, change: Callable[[], None]) -> int:
    """Let eight processes run into a change; how many operations they did."""
    fork = multiprocessing.get_context("fork")
    held, changed, results = fork.Barrier(PROCESSES + 1), fork.Event(), fork.SimpleQueue()
    connections.close_all()  # a child must not end its parent's connection
    children = [fork.Process(target=child, args=(use, held, changed, results)) for _ in range(PROCESSES)]
    for one in children:
        one.start()
    held.wait()
    change()
    changed.set()
    done: int = sum(results.get() for _ in children)
    for one in children:
        one.join()
    return done


@pytest.mark.parametrize(("after", "admitted"), [(3, 8), (8, 8), (500, 500)])
def test_a_plan_that_is_downgraded_while_eight_processes_hold_leases_is_not_passed(
    committed: Tenant, use: Counting, after: int, admitted: int
) -> None:
    def downgrade() -> None:
        assert used(committed) == 200 * PROCESSES, "all of it is held"
        limit(committed, after)

    limit(committed, 200_000)
    done = race(_hold_and_go_on, use(), downgrade)
    assert PROCESSES <= done <= admitted
    assert used(committed) == done
    assert done + writes(use) == admitted, "what one held is there for the others"


def test_a_cap_that_is_raised_while_eight_processes_read_past_it_is_not_passed(
    committed: Tenant, use: Counting
) -> None:
    limit(committed, 50)
    done = race(_read_on_and_write, use(), lambda: limit(committed, 400))
    assert 50 + 20 * PROCESSES < done <= 400
    assert used(committed) == done
    assert done + writes(use) == 400


def test_what_is_held_of_a_limit_that_ended_does_not_come_back_to_the_next(
    committed: Tenant, use: Counting, go_on_as: Callable[[Leases], None]
) -> None:
    limit(committed, None)
    cap(committed, 100_000, level="project")
    do(use())
    go_on_as(Leases())
    with scope(committed.organization):
        services.clear_cap(actor=committed.actor, cap_id=selectors.caps()[0].pk)
    for _ in range(9):
        do(use())
    cap(committed, 20, level="project")
    leases.forget(committed.organization.pk)
    leases.give_back()
    assert used(committed, committed.project.pk) == 10
    assert writes(use) == 10


def test_what_is_held_of_a_limit_that_ended_is_not_used_when_it_is_the_same_again(
    committed: Tenant, use: Counting, go_on_as: Callable[[Leases], None]
) -> None:
    def plan(amount: int | None) -> None:
        with scope(committed.organization):
            Organization.objects.update(operation_limit=amount)
            if amount is not None:
                catch_up(Allowance.OPERATIONS, level="organization", subject_id=committed.organization.pk)

    limit(committed, 3_000)
    do(use())
    go_on_as(Leases())
    plan(None)
    plan(3_000)
    go_on_as(leases)
    do(use())
    leases.give_back(idle=-1.0)
    assert used(committed) == 2


def test_a_counter_that_counts_already_counts_on_for_another_limit(committed: Tenant, use: Counting) -> None:
    limit(committed, 1_000)
    admit(use(quantity=9))
    cap(committed, 20)
    assert writes(use) == 11, "what is under way is in no event yet"
