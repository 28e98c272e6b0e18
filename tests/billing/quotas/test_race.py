"""A hard cap holds exactly, whatever the number of processes at it."""

import multiprocessing
from typing import Any

from django.db import connections

from billing.metering.meters import Meter
from billing.metering.services import Use
from billing.quotas.leases import leases
from billing.quotas.services import QuotaReached, admit
from tests.billing.quotas.conftest import limit, used
from tests.factories import Tenant

PROCESSES, LIMIT = 8, 3_000


def _run(use: Use, start: Any, results: Any) -> None:
    """One process: operations until it is refused a few times; says how many it did."""
    start.wait()
    done, refused = 0, 0
    while refused < 3:
        try:
            admit(use)
        except QuotaReached:
            refused += 1
            leases.forget(use.organization_id)
            leases.give_back(idle=-1.0)
        else:
            done += 1
    results.put(done)
    connections.close_all()


def test_eight_processes_at_once_stop_exactly_at_the_cap(committed: Tenant) -> None:
    limit(committed, LIMIT)
    use = Use(committed.organization.pk, committed.project.pk, committed.key.pk, Meter.INGEST)
    fork = multiprocessing.get_context("fork")
    start, results = fork.Barrier(PROCESSES), fork.SimpleQueue()
    connections.close_all()  # a child must not end its parent's connection
    children = [fork.Process(target=_run, args=(use, start, results)) for _ in range(PROCESSES)]
    for child in children:
        child.start()
    done = [results.get() for _ in children]
    for child in children:
        child.join()
    assert sum(done) == LIMIT, done
    assert used(committed) == LIMIT
    assert sum(count > 0 for count in done) > 1, "it was a race"
