"""Counters come back to what the usage events say, and never below what was used."""

import multiprocessing
import os
import signal
from collections.abc import Callable
from datetime import timedelta

from django.db import connections
from django.utils import timezone

from billing.metering.meters import Meter
from billing.metering.services import Use, record
from billing.quotas import counters
from billing.quotas.leases import leases
from billing.quotas.models import Counter
from billing.quotas.services import admit
from tenancy.scope import scope
from tests.billing.quotas.conftest import limit, used
from tests.factories import Tenant

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
