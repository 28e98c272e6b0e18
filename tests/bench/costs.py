"""What row security with its scope, metering and authentication cost: the same read without each, and a recall."""

from contextlib import ExitStack
from functools import partial
from statistics import median

from capsule_cloud.lib import embedded
from tests.bench import house, load, report
from tests.bench.load import Target, Window
from tests.bench.world import World, gets, recalls

SIZE = 1_000
SECONDS = 2  # many short windows: neighbours in time are more alike than the machine is to itself a minute later
ALLOWED = 0.10
OF_A_RECALL = ("none", "metering")
ALLOWED_OF_A_RECALL = 0.05
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
        alternate = partial(load.alternate, seconds=SECONDS, rounds=6 * world.rounds)
        targets = [Target(server, place.secret, partial(gets, SIZE)) for server in servers]
        whole, *without = alternate(targets)
        some = [servers[0], *(servers[1 + list(SAFEGUARDS).index(name)] for name in OF_A_RECALL)]
        recalling, *others = alternate([Target(server, place.secret, partial(recalls, SIZE)) for server in some])
    rows = [_row(what, whole, windows, ALLOWED) for what, windows in zip(SAFEGUARDS.values(), without, strict=True)]
    for name, windows in zip(OF_A_RECALL, others, strict=True):
        rows.append(_row(f"{SAFEGUARDS[name]}, of a recall", recalling, windows, ALLOWED_OF_A_RECALL))
    return f"{report.table(('with everything', 'without it'), rows)}\n\n{report.others(whole, *without)}"


def _row(what: str, whole: list[Window], without: list[Window], allowed: float) -> report.Row:
    cost = median(own.cpu / other.cpu - 1 for own, other in zip(whole, without, strict=True))
    cells = (report.speed(load.middle(whole)), report.speed(load.middle(without)), f"{cost:+.1%} CPU")
    return report.Row(what, *cells, f"≤ +{allowed:.0%}", cost <= allowed)
