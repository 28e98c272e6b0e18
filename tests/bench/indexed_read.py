"""One authenticated, metered, tenant-scoped indexed read: beside its limit and beside a bare peer."""

from functools import partial
from statistics import median

from django.conf import settings

from capsule_cloud.lib import embedded
from tests.bench import house, load, report
from tests.bench.load import Target, Window
from tests.bench.pgbench import transactions_a_second
from tests.bench.world import World, gets

SIZE = 10_000
TARGET_OF_LIMIT, TARGET_OF_PEER = 0.15, 1.5


def measure(world: World) -> str:
    """A table of requests a second, each ratio taken within one round."""
    place = world.place(SIZE)
    settings_of_peer = {"DATABASE_URL": embedded.urls().app, "BENCH_PEPPER": settings.API_KEY_PEPPER}
    windows: list[list[Window]] = [[], [], []]
    limits = []
    with (
        house.product() as product,
        house.fastapi_peer(**settings_of_peer) as peer,
        house.fastapi_peer(**settings_of_peer, BENCH_METERING="insert") as metered_peer,
    ):
        targets = [Target(server, place.secret, partial(gets, SIZE)) for server in (product, peer, metered_peer)]
        for _ in range(world.rounds):
            limits.append(transactions_a_second(place, world.seconds))
            for found, [window] in zip(windows, load.alternate(targets, seconds=world.seconds, rounds=1), strict=True):
                found.append(window)
    ours, bare, metered = windows
    own, of_limit = load.middle(ours), median(window.rate / limit for window, limit in zip(ours, limits, strict=True))
    is_met = of_limit >= TARGET_OF_LIMIT
    limit = f"{median(limits):,.0f}/s"
    rows = [
        report.Row("pgbench (the limit)", report.speed(own), limit, f"{of_limit:.2f}", f"≥ {TARGET_OF_LIMIT}", is_met),
        report.compare("FastAPI, not metered", own, load.middle(bare), load.ratio(ours, bare), TARGET_OF_PEER),
        report.compare("FastAPI, metered by an insert", own, load.middle(metered), load.ratio(ours, metered)),
    ]
    return f"{report.table(('Capsule Memory Cloud', 'compared to'), rows)}\n\n{report.others(*windows)}"
