"""Sends requests as fast as they are answered: by wrk what is fast, by threads sequences and what is slow."""

import http.client
import json
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from urllib.parse import urlsplit

from tests.bench.house import Server
from tests.bench.machine import Cpu

CLIENTS = 8
SCRIPT = Path(__file__).with_name("load.lua")


class NotMeasured(RuntimeError):
    """The run is worthless: answers failed, or a tool is missing. The message says what to do."""


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request; a body is JSON."""

    path: str
    method: str = "GET"
    body: str = ""


@dataclass(frozen=True, slots=True)
class Window:
    """What one stretch of load showed; times in milliseconds, CPU in microseconds of all servers a request."""

    rate: float
    p50: float
    p99: float
    cpu: float
    others: float


@dataclass(frozen=True, slots=True)
class Target:
    """A server, its key, and the requests to send it; `requests` is called for each window anew."""

    server: Server
    key: str
    requests: Callable[[], Sequence[Request]]


def alternate(targets: Sequence[Target], *, seconds: float, rounds: int) -> list[list[Window]]:
    """Load the targets in turn, `rounds` times, after one short warming each; the windows of each target.

    Neighbours in time share the machine's mood, so compare the windows of one round with each other. Every second round
    goes backwards: a machine that slows down all the while does not always slow down the same target.
    """
    for target in targets:
        _wrk(target, 1)
    windows: list[list[Window]] = [[] for _ in targets]
    turns = list(zip(targets, windows, strict=True))
    for _ in range(rounds):
        for target, found in turns:
            found.append(_wrk(target, seconds))
        turns.reverse()
    return windows


def middle(windows: Sequence[Window]) -> Window:
    """The median of each figure."""
    return Window(*(median(getattr(window, name) for window in windows) for name in Window.__slots__))


def ratio(ours: Sequence[Window], theirs: Sequence[Window]) -> float:
    """How many times their rate ours is: the median over the rounds."""
    return median(own.rate / other.rate for own, other in zip(ours, theirs, strict=True))


def _wrk(target: Target, seconds: float) -> Window:
    wrk = shutil.which("wrk")
    if wrk is None:
        raise NotMeasured("wrk is missing: apt-get install wrk (`make bench` does it as root).")
    requests = target.requests()
    with tempfile.NamedTemporaryFile("w", suffix=".requests") as file:
        file.writelines(f"{request.method}\t{request.path}\t{request.body}\n" for request in requests)
        file.flush()
        command = [wrk, "-t1", f"-c{CLIENTS}", f"-d{max(1, round(seconds))}s", "--timeout", "60s", "-s", str(SCRIPT)]
        command += [target.server.url, "--", file.name, f"Bearer {target.key}"]
        cpu = Cpu()
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        used, others = cpu.servers(), cpu.others()
    found = json.loads(output.partition("JSON ")[2] or "{}")
    if not found or found["refused"] or found["broken"] or not found["requests"]:
        raise NotMeasured(f"{target.server.url} answered with errors: {output}")
    count = found["requests"]
    rate = count / found["microseconds"] * 1e6
    return Window(rate, found["p50"] / 1000, found["p99"] / 1000, used / count * 1e6, others)


def by_threads(server: Server, key: str, sequences: Iterable[Sequence[Request]], *, seconds: float) -> Window:
    """CLIENTS threads take sequences of requests and send each over their own connection, for about `seconds`.

    Nothing in flight is lost: each thread's rate ends with its own last answer. One sequence counts as one.
    """
    source, lock = iter(sequences), threading.Lock()
    deadline = time.monotonic() + seconds
    rates: list[float] = []
    latencies: list[float] = []
    failures: list[str] = []

    def client() -> None:
        connection = Connection(server.url, key)
        started, own = time.monotonic(), []
        while time.monotonic() < deadline and not failures:
            with lock:
                sequence = next(source, None)
            if sequence is None:
                break
            begun = time.monotonic()
            try:
                for request in sequence:
                    connection.send(request)
            except NotMeasured as error:
                failures.append(str(error))
            own.append(time.monotonic() - begun)
        rates.append(len(own) / (time.monotonic() - started))
        latencies.extend(own)

    cpu = Cpu()
    threads = [threading.Thread(target=client) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise NotMeasured(failures[0])
    percentiles = quantiles(latencies, n=100, method="inclusive")
    used = cpu.servers() / len(latencies) * 1e6
    return Window(sum(rates), percentiles[49] * 1000, percentiles[98] * 1000, used, cpu.others())


class Connection:
    """One kept-alive connection with a key."""

    def __init__(self, url: str, key: str) -> None:
        address = urlsplit(url)
        self._http = http.client.HTTPConnection(address.hostname or "", address.port, timeout=120)
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}

    def send(self, request: Request) -> bytes:
        """The answer's body. Raises NotMeasured unless it is a success."""
        self._http.request(request.method, request.path, request.body or None, self._headers)
        with self._http.getresponse() as response:
            body = response.read()
        if response.status >= 400:
            raise NotMeasured(f"{request.method} {request.path} answered {response.status}: {body[:300]!r}")
        return body


def repeat(requests: Sequence[Request]) -> Iterator[Sequence[Request]]:
    """Each request as a sequence of its own, over and over."""
    while True:
        for request in requests:
            yield (request,)
