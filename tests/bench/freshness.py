"""How long after its answer a call shows in the usage that the API gives, with the job worker as in production."""

import random
import threading
import time
from statistics import median, quantiles
from urllib.parse import urlencode

import orjson

from capsule_cloud.lib import embedded
from capsule_cloud.lib.processes import Child
from capsule_cloud.management.commands.dev import scheduler, worker
from tests.bench import corpus, house, report
from tests.bench.load import Connection, NotMeasured, Request
from tests.bench.machine import Cpu
from tests.bench.report import Row
from tests.bench.world import Place, World, recalls

SIZE = 100
EVENTS, QUICK_EVENTS = 600, 100
APART = 0.1  # seconds between two calls at most: they fall on every phase of the shipper's rounds
PATIENCE = 60.0
ALLOWED = 2.0  # seconds, p99


def measure(world: World) -> str:
    """A table: reads, which go through the spool, and writes, which are rows at once."""
    place = world.place(SIZE)
    events = QUICK_EVENTS if world.is_quick else EVENTS
    turns = [_turn(number) for number in range(events)]
    reads = [recalls(SIZE)[number % 50] for number in range(events)]
    cpu = Cpu()
    with house.product() as server, (embedded.data_dir() / "worker.log").open("ab") as log:
        jobs = [Child(program, log) for program in (worker(), scheduler())]
        try:
            _until_it_ships(server.url, place)
            cpu = Cpu()
            rows = [
                _row("recall (spooled) → usage", _delays(server.url, place, reads, "recall")),
                _row("ingest (a row) → usage", _delays(server.url, place, turns, "ingest")),
            ]
            others = cpu.others()
        finally:
            for child in jobs:
                child.stop()
    return f"{report.table((f'{events} calls', ''), rows)}\n\nOthers used {others:.0%} of the machine meanwhile."


def _row(what: str, delays: list[float]) -> Row:
    p99 = quantiles(delays, n=100, method="inclusive")[98]
    shown = f"p50 {median(delays):.2f} s, p99 {p99:.2f} s, at most {max(delays):.2f} s"
    return Row(what, shown, "", "", f"p99 < {ALLOWED:g} s", p99 < ALLOWED)


def _turn(number: int) -> Request:
    body = {"user_id": corpus.USER, "user_message": f"Question {number}", "assistant_response": "An answer"}
    return Request(f"/api/v1/sessions/fresh-{number % 20}/ingest", "POST", orjson.dumps(body).decode())


def _until_it_ships(url: str, place: Place) -> None:
    """Wait for the worker's first round, with a call that it stores."""
    connection = Connection(url, place.secret)
    before = _shown(connection, "recall")
    connection.send(recalls(SIZE)[0])
    deadline = time.monotonic() + PATIENCE
    while _shown(connection, "recall") == before:
        if time.monotonic() > deadline:
            raise NotMeasured(f"No worker has stored a call within {PATIENCE:.0f} s: see worker.log.")
        time.sleep(0.1)


def _delays(url: str, place: Place, requests: list[Request], meter: str) -> list[float]:
    """Seconds from each call's answer until the usage shows as many; the first that shows is the first answered."""
    watching = Connection(url, place.secret)
    before = _shown(watching, meter)
    answered: list[float] = []

    def call() -> None:
        connection, chance = Connection(url, place.secret), random.Random(7)
        for request in requests:
            connection.send(request)
            answered.append(time.perf_counter())
            time.sleep(chance.uniform(0, APART))

    caller = threading.Thread(target=call)
    caller.start()
    seen: list[float] = []
    deadline = time.monotonic() + PATIENCE + len(requests) * APART
    while len(seen) < len(requests):
        count = _shown(watching, meter) - before
        seen += [time.perf_counter()] * (count - len(seen))
        if time.monotonic() > deadline:
            raise NotMeasured(f"{len(seen)} of {len(requests)} calls were shown.")
        time.sleep(0.005)
    caller.join()
    # a row may be seen before its writer has taken the time of its answer
    return [max(0.0, shown - at) for at, shown in zip(answered, seen, strict=True)]


def _shown(connection: Connection, meter: str) -> int:
    query = urlencode({"meter": meter, "grain": "hour", "group_by": "meter"})
    answer = orjson.loads(connection.send(Request(f"/v1/usage?{query}")))
    return sum(point["quantity"] for point in answer["data"])
