"""What row security with its scope, metering and authentication cost: the same read without each, and a recall."""

from contextlib import ExitStack
from functools import partial
from statistics import median

from capsule_cloud.lib import embedded
from tests.bench import house, load, report
from tests.bench.load import Target, Window
from tests.bench.world import World, gets, recalls

SIZE = 1_000
ALLOWED = 0.10
OF_A_RECALL = 0.05  # metering
VARIANT = "tests.bench.peers.without:application"
SAFEGUARDS = {
    "none": "nothing (control)",
    "wall": "row security and scope",
    "metering": "metering",
    "auth": "authentication",
}


def measure(world: World) -> str:
    """A table of the CPU that each safeguard adds to a read: rates alone drown in the machine's noise."""
    place = world.place(SIZE)
    with ExitStack() as running:
        servers = [running.enter_context(house.product())]
        for name in SAFEGUARDS:
            role = {"DATABASE_URL": embedded.urls().superuser} if name == "wall" else {}
            variant = house.product(VARIANT, BENCH_WITHOUT=name, BENCH_KEY=place.secret, **role)
            servers.append(running.enter_context(variant))
        targets = [Target(server, place.secret, partial(gets, SIZE)) for server in servers]
        whole, *without = load.alternate(targets, seconds=world.seconds, rounds=2 * world.rounds)
        metered = (servers[0], servers[1 + list(SAFEGUARDS).index("metering")])
        recalling = [Target(server, place.secret, partial(recalls, SIZE)) for server in metered]
        with_it, without_it = load.alternate(recalling, seconds=world.seconds, rounds=2 * world.rounds)
    rows = [_row(what, whole, windows, ALLOWED) for what, windows in zip(SAFEGUARDS.values(), without, strict=True)]
    rows.append(_row("metering, of a recall", with_it, without_it, OF_A_RECALL))
    return f"{report.table(('with everything', 'without it'), rows)}\n\n{report.others(whole, *without)}"


def _row(what: str, whole: list[Window], without: list[Window], allowed: float) -> report.Row:
    cost = median(own.cpu / other.cpu - 1 for own, other in zip(whole, without, strict=True))
    cells = (report.speed(load.middle(whole)), report.speed(load.middle(without)), f"{cost:+.1%} CPU")
    return report.Row(what, *cells, f"≤ +{allowed:.0%}", cost <= allowed)
