"""Turns ingested durably, and sessions sealed, beside the engine's own server, which keeps turns in memory."""

import json
import uuid
from collections.abc import Iterator, Sequence
from itertools import count

from tests.bench import corpus, house, load, report
from tests.bench.house import Server
from tests.bench.load import Connection, Request, Target, Window
from tests.bench.world import World

SESSIONS = 64  # open at once; each takes 249 pairs after its first
QUESTION = "Which region should the {} service run in, and who signs off on it?"
ANSWER = "In eu-central, next to the database; Mara signs off after the load test on Thursday."
SEAL_SIZES = (1_000, 10_000)


def measure(world: World) -> str:
    """A table of ingests a second and of first turn, recall and seal."""
    place, storage = world.place(100), world.engine_folder(100)
    with house.product() as product, house.engine(storage) as engine:
        ours, theirs = load.alternate(
            [
                Target(product, place.secret, lambda: open_sessions(product, place.secret)),
                Target(engine, house.ENGINE_KEY, lambda: open_sessions(engine, house.ENGINE_KEY)),
            ],
            seconds=world.seconds,
            rounds=world.rounds,
        )
    what = "ingest a turn (ours on disk, theirs in memory)"
    rows = [report.compare(what, load.middle(ours), load.middle(theirs), load.ratio(ours, theirs), 1)]
    all_windows = [ours, theirs]
    for size in SEAL_SIZES:
        place, storage = world.place(size), world.engine_folder(size)
        with house.product() as product, house.engine(storage) as engine:
            _seal(product, place.secret, world)  # models are loaded, statements prepared
            sealed = [_seal(product, place.secret, world) for _ in range(3)]
            theirs = [_seal(engine, house.ENGINE_KEY, world)]
        own, other = load.middle(sealed), load.middle(theirs)
        what = f"first turn with recall, then seal, {size:,} capsules"
        rows.append(report.compare(what, own, other, own.rate / other.rate, 5))
        all_windows += [sealed, theirs]
    table = report.table(("Capsule Memory Cloud", "the engine's server"), rows)
    return f"{table}\n\n{report.others(*all_windows)}"


def open_sessions(server: Server, key: str) -> list[Request]:
    """The next turns of new sessions, each with its first turn behind it, for an end user without memories."""
    connection, names = Connection(server.url, key), [f"sess_{uuid.uuid4().hex}" for _ in range(SESSIONS)]
    for name in names:
        connection.send(_turn(name, "newcomer", 0))
    # As many requests as the sessions can take: a window that used them up would fail, not slow down.
    return [_turn(name, "newcomer", number) for number in range(1, 240) for name in names]


def _turn(session: str, user: str, number: int, question: str = "") -> Request:
    body = {
        "user_id": user,
        "user_message": question or QUESTION.format(f"search-{number}"),
        "assistant_response": ANSWER,
    }
    return Request(f"/api/v1/sessions/{session}/ingest", "POST", json.dumps(body))


def _seal(server: Server, key: str, world: World) -> Window:
    return load.by_threads(server, key, _conversations(), seconds=5 if world.is_quick else 10)


def _conversations() -> Iterator[Sequence[Request]]:
    """A first turn, which brings what is remembered, and the seal with what the caller's model found."""
    for number in count():
        query = corpus.example(number).query
        session = f"sess_{uuid.uuid4().hex}"
        fact = {"key": "service.region", "value": f"The {query} service runs in eu-central.", "category": "decision"}
        seal = {"title": f"About {query}", "tags": ["bench"], "summary": "Regions and sign-off.", "facts": [fact]}
        yield (
            _turn(session, corpus.USER, 1, f"What do we know about {query}?"),
            Request(f"/api/v1/sessions/{session}/seal", "POST", json.dumps(seal)),
        )
