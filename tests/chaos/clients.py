"""Clients that ask for things through every death of their server, and remember what they were told."""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

import httpx

PAUSE = 0.05  # seconds before a server that did not answer is asked again
INGEST, RECALL = "ingest", "recall"


@dataclass(slots=True)
class Deed:
    """One thing that a client wants counted; its name is the end user that it is counted for."""

    kind: str
    name: str
    attempts: int = 0
    is_acknowledged: bool = False

    @property
    def session(self) -> str:
        """The session that an ingest is of."""
        return self.name.replace("/", "-")


class Clients:
    """Threads that do deeds of some kinds by turns until they are stopped, each deed until it is acknowledged."""

    def __init__(self, url: str, headers: dict[str, str], number: int, kinds: Sequence[str]) -> None:
        self.url, self.headers, self.kinds = url, headers, kinds
        self.deeds: list[Deed] = []
        self.acknowledged = 0
        self.stopped = threading.Event()
        self._changed = threading.Condition()
        self._threads = [threading.Thread(target=self._run, args=(n,), name=f"client {n}") for n in range(number)]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let every client finish what it has begun."""
        self.stopped.set()
        for thread in self._threads:
            thread.join()

    def wait_for(self, more: int, seconds: float) -> None:
        """Block until so many more deeds are acknowledged. Raises TimeoutError."""
        wanted = self.acknowledged + more
        with self._changed:
            if not self._changed.wait_for(lambda: self.acknowledged >= wanted, timeout=seconds):
                raise TimeoutError(f"Only {self.acknowledged} of {wanted} deeds are acknowledged after {seconds} s.")

    def _run(self, number: int) -> None:
        options = httpx.Limits(max_keepalive_connections=0)
        with httpx.Client(base_url=self.url, headers=self.headers, timeout=30, limits=options) as http:
            n = 0
            while not self.stopped.is_set():
                deed = Deed(self.kinds[n % len(self.kinds)], f"{number}/{n}")
                self.deeds.append(deed)
                while not self._is_done(http, deed):
                    time.sleep(PAUSE)
                n += 1

    def _is_done(self, http: httpx.Client, deed: Deed) -> bool:
        deed.attempts += 1
        try:
            answer = _send(http, deed)
        except httpx.TransportError:
            return False
        if answer.is_client_error and answer.status_code != httpx.codes.CONFLICT:  # as the first attempt is under way
            raise AssertionError(f"{answer.status_code}: {answer.text}")
        if answer.status_code != httpx.codes.OK:
            return False
        deed.is_acknowledged = True
        with self._changed:
            self.acknowledged += 1
            self._changed.notify_all()
        return True


def _send(http: httpx.Client, deed: Deed) -> httpx.Response:
    if deed.kind == RECALL:
        return http.get("/api/v1/recall", params={"query": "tea", "user_id": deed.name})
    turn = {"user_message": "Tea, please", "assistant_response": "Noted", "user_id": deed.name}
    path = f"/api/v1/sessions/{deed.session}/ingest"
    return http.post(path, json=turn, headers={"Idempotency-Key": deed.name})
