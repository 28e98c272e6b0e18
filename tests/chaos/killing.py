"""Kills what serves clients, again and again."""

import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from random import Random

import psycopg

from capsule_cloud.lib import embedded
from tests.chaos.clients import Clients
from tests.chaos.servers import Servers
from tests.factories import make_tenant

CLIENTS = 6
BETWEEN = 20  # deeds acknowledged between two kills, so that each meets a product at work
PATIENCE = 120.0  # seconds for them
Around = Callable[[Clients, str], AbstractContextManager[None]]


def kill_under_load(
    servers: Servers,
    weights: Mapping[str, int],
    kinds: Sequence[str],
    kills: int,
    chance: Random,
    *,
    around: Around = lambda clients, victim: nullcontext(),
) -> tuple[Counter[str], Clients]:
    """Kill so often, each victim once and then by its weight, while clients do deeds of these kinds.

    `around` is entered before each kill and left after it.
    """
    tenant = make_tenant()
    _lift_limits()
    clients = Clients(servers.url, tenant.headers, CLIENTS, kinds)
    clients.start()
    killed: Counter[str] = Counter()
    try:
        for number, victim in enumerate(_victims(weights, kills, chance)):
            clients.wait_for(BETWEEN, PATIENCE)
            with around(clients, victim):
                servers.kill(victim, chance)
            killed[victim] += 1
            print(f"{number + 1:4} {victim}, {clients.acknowledged} acknowledged", file=sys.stderr, flush=True)
        clients.wait_for(BETWEEN, PATIENCE)
    finally:
        clients.stop()
    return killed, clients


def _victims(weights: Mapping[str, int], kills: int, chance: Random) -> list[str]:
    """Each of them once, then by their weights."""
    once = chance.sample(list(weights), len(weights))
    return [*once, *chance.choices(list(weights), list(weights.values()), k=kills)][:kills]


def _lift_limits() -> None:
    with psycopg.connect(embedded.urls().superuser, autocommit=True) as server:
        limits = "requests_per_minute = 2000000000, operation_limit = NULL, end_user_limit = NULL"
        server.execute(f"UPDATE tenancy_organization SET {limits}".encode())
