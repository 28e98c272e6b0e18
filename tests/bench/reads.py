"""Lists and single reads over HTTP, beside the engine's own server."""

from functools import partial

from tests.bench import house, load, report
from tests.bench.load import Target
from tests.bench.world import World, gets, lists

SIZE = 1_000


def measure(world: World) -> str:
    """A table of requests a second."""
    place, storage = world.place(SIZE), world.engine_folder(SIZE)
    rows, all_windows = [], []
    with house.product() as product, house.engine(storage) as engine:
        for what, requests, target in (("list 20", lists, 5.0), ("get one", partial(gets, SIZE), 1.0)):
            targets = [
                Target(product, place.secret, requests),
                Target(engine, house.ENGINE_KEY, requests),
            ]
            ours, theirs = load.alternate(targets, seconds=world.seconds, rounds=world.rounds)
            own, other = load.middle(ours), load.middle(theirs)
            rows.append(report.compare(f"{what}, {SIZE:,} capsules", own, other, load.ratio(ours, theirs), target))
            all_windows += [ours, theirs]
    table = report.table(("Capsule Memory Cloud", "the engine's server"), rows)
    return f"{table}\n\n{report.others(*all_windows)}"
