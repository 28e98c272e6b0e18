"""Memory of the web workers over a hundred thousand requests of every hot kind."""

from itertools import chain

from tests.bench import house, load, machine, report
from tests.bench.load import Request, Target
from tests.bench.world import World, gets, lists, recalls
from tests.bench.writes import open_sessions

SIZE = 1_000
REQUESTS, QUICK_REQUESTS = 100_000, 10_000
WARMING = 4  # seconds: models are loaded, caches filled
ALLOWED = 0.10


def measure(world: World) -> str:
    """A table with the workers' private memory at the start and at the end."""
    place, wanted = world.place(SIZE), QUICK_REQUESTS if world.is_quick else REQUESTS
    with house.product() as server:

        def mixed() -> list[Request]:
            """Of ten requests six reads, two recalls, one list, one ingest."""
            turns, reads, questions = open_sessions(server, place.secret), gets(SIZE), recalls(SIZE)
            return list(
                chain.from_iterable(
                    (*reads[n % 900 : n % 900 + 6], *(questions[n % 300 : n % 300 + 2]), *lists(), turn)
                    for n, turn in enumerate(turns)
                )
            )

        target, sent = Target(server, place.secret, mixed), 0.0
        load.alternate([target], seconds=WARMING, rounds=1)
        workers = machine.children(server.pid)
        before = [machine.memory(pid) for pid in workers]
        while sent < wanted:
            [[window]] = load.alternate([target], seconds=10, rounds=1)
            sent += window.rate * 11  # ten seconds, and the one for warming
        after = [machine.memory(pid) for pid in workers]
    growth = max(late / early - 1 for early, late in zip(before, after, strict=True))
    row = report.Row(
        f"private memory of {len(workers)} workers over {sent:,.0f} requests",
        " + ".join(f"{late / 2**20:.0f}" for late in after) + " MiB",
        " + ".join(f"{early / 2**20:.0f}" for early in before) + " MiB",
        f"{growth:+.1%}",
        f"≤ +{ALLOWED:.0%}",
        growth <= ALLOWED,
    )
    return report.table(("at the end", "at the start"), [row])
