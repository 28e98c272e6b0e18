"""Recall over HTTP with 8 clients, beside the engine's own server on the same capsules."""

from functools import partial
from itertools import islice

from tests.bench import house, load, report
from tests.bench.load import Target, Window
from tests.bench.world import World, recalls

SIZES = (100, 1_000, 10_000, 100_000)
QUICK_SIZES = SIZES[:3]  # to load the last takes minutes
PROMISED: dict[int, float] = {100: 20, 10_000: 100}  # times the engine's rate
MOST_GROWTH = 2.0  # of our p99 from 1,000 to 100,000 capsules


def measure(world: World) -> str:
    """A table of requests a second and latencies."""
    sizes = QUICK_SIZES if world.is_quick else SIZES
    places = [world.place(size) for size in sizes]
    with house.product() as server:
        targets = [Target(server, place.secret, partial(recalls, place.size)) for place in places]
        windows = load.alternate(targets, seconds=world.seconds, rounds=world.rounds)
    ours = dict(zip(sizes, map(load.middle, windows), strict=True))
    theirs = {size: _engine(world, size) for size in sizes}
    rows = [
        report.compare(
            f"{size:,} capsules", ours[size], theirs[size], ours[size].rate / theirs[size].rate, PROMISED.get(size)
        )
        for size in sizes
    ]
    small, large = ours[1_000].p99, ours[sizes[-1]].p99
    growth = report.ratio(large / small)
    cells = (f"p99 {large:.1f} ms at {sizes[-1]:,}", f"p99 {small:.1f} ms at 1,000", growth)
    rows.append(report.Row("our own growth", *cells, f"≤ {MOST_GROWTH:g} x", large <= MOST_GROWTH * small))
    table = report.table(("Capsule Memory Cloud", "the engine's server"), rows)
    return f"{table}\n\n{report.others(*windows, list(theirs.values()))}"


def _engine(world: World, size: int) -> Window:
    """It needs up to seconds a recall, so one bounded window; the median of more would say the same."""
    with house.engine(world.engine_folder(size)) as server:
        requests = load.repeat(recalls(size))
        load.by_threads(server, house.ENGINE_KEY, islice(requests, load.CLIENTS), seconds=1)
        return load.by_threads(server, house.ENGINE_KEY, requests, seconds=12 if world.is_quick else 30)
