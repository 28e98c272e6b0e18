"""How fast events reach customers' servers, beside the same client posting the same bodies and doing nothing else."""

import socket
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from statistics import median

import httpcore

from capsule_cloud.lib import embedded
from capsule_cloud.lib.processes import Child, Program
from tenancy.scope import scope
from tenancy.webhooks import catalogue, delivery, events, services
from tenancy.webhooks.models import Delivery, Endpoint
from tests.bench import house, report
from tests.bench.world import World
from tests.factories import Tenant, make_tenant

EVENTS, QUICK_EVENTS = 2_000, 500
ORGANIZATIONS = 20
LEAST_SHARE = 0.25
ENDPOINTS = 1_000
LATE = 5.0  # seconds


def measure(world: World) -> str:
    """A table: deliveries a second, and a thousand endpoints of which one hangs."""
    number = QUICK_EVENTS if world.is_quick else EVENTS
    tenants = [make_tenant() for _ in range(ORGANIZATIONS)]
    with sink() as url:
        for tenant in tenants:
            _add(tenant, f"{url}/{tenant.organization.slug}")
        ours, theirs = [], []
        for turn in range(world.rounds):
            bodies = _happen(tenants, number, turn)
            ours.append(_timed(_deliver, number))
            theirs.append(_timed(partial(_post, url, bodies), number))
        share = median(mine / bare for mine, bare in zip(ours, theirs, strict=True))
        arrived = _beside_a_dead_one(url)
    rows = [
        report.Row(
            "events signed, sent, and their answers kept",
            f"{median(ours):,.0f}/s",
            f"{median(theirs):,.0f}/s",
            report.ratio(share),
            f"≥ {LEAST_SHARE} x",
            share >= LEAST_SHARE,
        ),
        report.Row(
            f"{ENDPOINTS:,} endpoints beside one that hangs: the last has its event after",
            f"{arrived:.1f} s",
            "",
            "",
            f"< {LATE:.0f} s",
            arrived < LATE,
        ),
    ]
    return report.table(("the engine, one process", "httpcore alone"), rows)


@contextmanager
def sink() -> Iterator[str]:
    port = house.free_port()

    def answers() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    argv = (sys.executable, "-m", "tests.bench.peers.sink", str(port))
    with (embedded.data_dir() / "sink.log").open("ab") as log:
        child = Child(Program(name="sink", argv=argv, cwd=house.ROOT, is_ready=answers), log)
    try:
        child.wait_until_ready()
        yield f"http://127.0.0.1:{port}"
    finally:
        child.stop()


def _add(tenant: Tenant, url: str) -> None:
    with scope(tenant.organization):
        services.create(actor=tenant.actor, url=url)
        Endpoint.objects.update(last_success_at=tenant.organization.created_at)


def _happen(tenants: list[Tenant], number: int, turn: int) -> list[bytes]:
    """Events of every organization, not delivered yet; their bodies."""
    bodies: list[bytes] = []
    for tenant in tenants:
        with scope(tenant.organization):
            for n in range(number // len(tenants)):
                data = {"session_id": f"chat-{turn}-{n}", "capsule_id": f"cap-{n}", "user_id": "dana"}
                events.emit(catalogue.SESSION_SEALED, data=data, key=f"bench:{turn}:{n}", project_id=tenant.project.pk)
            waiting = Delivery.objects.filter(state="pending").values_list("event__body", flat=True)
            bodies += [body.encode() for body in waiting]
    return bodies


def _deliver() -> None:
    while delivery.deliver(budget=600):
        pass


def _post(url: str, bodies: list[bytes]) -> None:
    with httpcore.ConnectionPool(max_connections=delivery.SLOTS) as pool, ThreadPoolExecutor(delivery.SLOTS) as threads:

        def post(body: bytes) -> int:
            return pool.request("POST", url, headers={"Content-Type": "application/json"}, content=body).status

        if set(threads.map(post, bodies)) != {200}:
            raise RuntimeError("The sink refused.")


def _timed(work: Callable[[], object], number: int) -> float:
    """How many a second."""
    start = time.perf_counter()
    work()
    return number / (time.perf_counter() - start)


def _beside_a_dead_one(url: str) -> float:
    """Seconds until the last of a thousand endpoints has its event, while another one hangs on twenty of its own."""
    tenants = [make_tenant() for _ in range(ENDPOINTS // services.MOST_ENDPOINTS)]
    for tenant in tenants:
        for n in range(services.MOST_ENDPOINTS):
            _add(tenant, f"{url}/{n}")
    with socket.create_server(("127.0.0.1", 0)) as deaf:  # accepts, and never answers
        lame = make_tenant()
        _add(lame, f"http://127.0.0.1:{deaf.getsockname()[1]}/")
        _happen([lame], 20, 0)
        for tenant in tenants:
            _happen([tenant], 1, 0)
        start = time.time()
        delivery.deliver(budget=30)
    last = 0.0
    for tenant in tenants:
        with scope(tenant.organization):
            last = max(last, Delivery.objects.latest("done_at").done_at.timestamp())  # type: ignore[union-attr]
    return last - start
