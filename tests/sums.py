"""Waits until the hourly sums can hold everything that is committed, and makes them."""

from django.db import connection

from billing.metering import services
from tests.raw import connect


def catch_up() -> None:
    """Roll up all that was committed before this call.

    A transaction that is open elsewhere, in another test's database even, holds back what came after it: it is waited
    for.
    """
    assert not connection.in_atomic_block, "It would wait for this very test: use `committed`, not `tenant`."
    with connect("superuser") as server:
        [(now,)] = server.execute("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint")
        oldest = 0
        while oldest < now:
            [(oldest,)] = server.execute("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint")
    services.roll_up()
