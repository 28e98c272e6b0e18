"""Counters come back to what the usage events say, and never below what was used."""

import multiprocessing
import os
import signal
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import DatabaseError, connections
from django.utils import timezone

from billing.metering.meters import Meter
from billing.metering.models import SpoolMachine
from billing.metering.services import ShipFailed, Use, record, ship, spool, watermark
from billing.quotas import counters, selectors, services
from billing.quotas.leases import leases
from billing.quotas.models import Counter
from billing.quotas.services import QuotaReached, admit
from billing.services import entitlements
from tenancy.audit.services import SYSTEM, Actor
from tenancy.scope import scope
from tests.billing.quotas.conftest import limit, used
from tests.factories import Tenant

pytestmark = pytest.mark.usefixtures("no_spools")
Counting = Callable[..., Use]
NOW = timedelta(0)


def do(use: Use) -> None:
    """One operation: admitted and counted."""
    admit(use)
    with scope(use.organization_id):
        record(use)


def _die_with_a_lease(use: Use) -> None:
    do(use)
    os.kill(os.getpid(), signal.SIGKILL)


def test_what_a_killed_process_held_comes_back(committed: Tenant, use: Counting) -> None:
    limit(committed, 100_000)
    connections.close_all()  # a child must not end its parent's connection
    child = multiprocessing.get_context("fork").Process(target=_die_with_a_lease, args=(use(),))
    child.start()
    child.join()
    assert used(committed) == 100
    counters.settle()
    assert used(committed) == 100, "the lease may be in use still"
    counters.settle(grace=NOW)
    counters.settle(grace=NOW)
    assert used(committed) == 1


def test_what_was_granted_since_the_mark_stays_taken(committed: Tenant, use: Counting) -> None:
    limit(committed, 100_000)
    do(use())
    counters.settle(grace=NOW)
    do(use(quantity=500))
    counters.settle(grace=NOW)
    assert used(committed) >= 501
    leases.give_back(idle=-1.0)
    counters.settle(grace=NOW)
    counters.settle(grace=NOW)
    assert used(committed) == 501


def wait_for_the_mark(tenant: Tenant, minutes: int) -> None:
    """Let the marks be as old as that."""
    with scope(tenant.organization):
        Counter.objects.update(marked_at=timezone.now() - timedelta(minutes=minutes))


def test_a_spool_that_lies_for_an_hour_lets_no_counter_down(committed: Tenant, use: Counting) -> None:
    ship()  # what other tests spooled
    limit(committed, 10)
    watermark.register()
    for _ in range(7):
        spool(use(Meter.RECALL))
        admit(use(Meter.RECALL))
    SpoolMachine.objects.update(stored_until=timezone.now() - timedelta(hours=1))
    for minutes in (55, 55):
        wait_for_the_mark(committed, minutes)
        assert counters.settle() == 0
        assert used(committed) == 7, "they are in no event yet"
    assert ship() == 7
    admit(use(quantity=2))  # of a process that dies
    wait_for_the_mark(committed, 11)
    counters.settle()
    assert used(committed) == 9, "granted since the mark"
    wait_for_the_mark(committed, 11)
    assert counters.settle() == 1
    assert used(committed) == 7, "all that has happened, and nothing else"


def test_reads_that_were_in_a_spool_when_a_counter_began_are_counted_too(committed: Tenant, use: Counting) -> None:
    limit(committed, None)
    spool(use(Meter.RECALL, quantity=6))
    limit(committed, 10)
    do(use())
    leases.forget(committed.organization.pk)
    leases.give_back(idle=-1.0)
    assert used(committed) == 1
    ship()
    for _ in range(2):
        wait_for_the_mark(committed, 11)
        counters.settle()
    assert used(committed) == 7


def test_the_slowest_machine_decides(committed: Tenant, use: Counting) -> None:
    do(use(quantity=5))
    spool(use(Meter.RECALL))
    ship()
    other = SpoolMachine.objects.create(pk=uuid4(), stored_until=timezone.now() - timedelta(hours=2))
    admit(use())
    wait_for_the_mark(committed, 60)
    assert counters.settle() == 0
    other.stored_until = timezone.now() - timedelta(days=8)
    other.save()
    assert abs(watermark.stored_until() - timezone.now()) < timedelta(minutes=1), "it does not come back"


def test_a_shipper_that_fails_says_nothing(committed: Tenant, use: Counting, monkeypatch: pytest.MonkeyPatch) -> None:
    ship()
    before = watermark.stored_until()
    spool(use(Meter.RECALL))

    def fails(*_: Any) -> int:
        raise DatabaseError

    with monkeypatch.context() as patch:
        patch.setattr("billing.metering.services.shipping._store", fails)
        with pytest.raises(ShipFailed):
            ship()
    assert watermark.stored_until() == before
    ship()
    assert watermark.stored_until() > before


def test_events_that_came_another_way_count(committed: Tenant, use: Counting) -> None:
    do(use())
    with scope(committed.organization):
        record(use(Meter.IMPORT, quantity=40))
    counters.settle(grace=NOW)
    assert used(committed) == 41


def test_a_counter_of_yesterday_is_left_alone_and_goes_after_its_time(tenant: Tenant, use: Counting) -> None:
    do(use())
    with scope(tenant.organization):
        yesterday = timezone.now() - timedelta(days=1)
        Counter.objects.update(span="day", starts_at=yesterday, used=7, marked_at=yesterday)
    counters.settle()
    counters.settle()
    assert used(tenant, span="day") == 7
    with scope(tenant.organization):
        Counter.objects.update(starts_at=timezone.now() - timedelta(days=500))
        counters.tidy()
        assert not Counter.objects.exists()


def test_what_was_used_while_no_limit_held_counts_when_one_holds_again(committed: Tenant, use: Counting) -> None:
    tomorrow = timezone.now() + timedelta(days=1)

    def plan(limit: int | None) -> None:
        with scope(committed.organization):
            entitlements.grant_override(
                actor=SYSTEM,
                key="operation_limit",
                value=limit,
                reason="A test",
                expires_at=tomorrow,
                approver=Actor("staff", "2", "second@example.com"),
            )
        leases.forget(committed.organization.pk)

    def cap() -> None:
        with scope(committed.organization):
            services.set_cap(
                actor=committed.actor,
                allowance="operations",
                level="project",
                subject_id=committed.project.pk,
                amount=9,
                reaction="stop",
            )

    plan(10)
    do(use())
    plan(None)
    do(use(quantity=8))
    plan(10)
    do(use())
    with pytest.raises(QuotaReached):
        admit(use())
    plan(None)
    cap()
    with pytest.raises(QuotaReached):
        admit(use())
    with scope(committed.organization):
        services.clear_cap(actor=committed.actor, cap_id=selectors.caps()[0].pk)
    do(use(quantity=3))
    cap()
    assert used(committed, committed.project.pk) == 13
