"""The engine: takes deliveries that are due, of all organizations in turns, sends them, and says what came of it.

At least once: a delivery is leased before it is sent, and whoever is killed loses the lease. One loop in a process is
enough for everybody; several processes share the work.
"""

import functools
import logging
import queue
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any
from uuid import UUID

import orjson
from django.utils import timezone

from capsule_cloud.lib import http
from tenancy.scope import scope, unscoped
from tenancy.webhooks import services, signing
from tenancy.webhooks.models import shown_url

SLOTS = 64  # requests at once in a process
EACH = 8  # to one endpoint that works; one that fails, is ordered or never answered gets one at a time
OF_ONE = 24  # to all endpoints of one organization
TIMEOUT = 15.0  # seconds for one request, from its name's look-up to its answer's last byte
LEASE = timedelta(seconds=30)  # a request that was claimed is over by then, or its worker is dead
BUDGET = 20.0  # seconds that one call goes on for, if there is work
PAUSES = (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)  # seconds: the specification's, three days
MOST_ATTEMPTS = len(PAUSES) + 1
LONGEST_PAUSE = 600.0  # seconds between rounds for an endpoint that fails
LONGEST_RETRY_AFTER = 86_400.0
MOST_OF_A_BODY = 16_384  # bytes that are read of an answer, so that its connection can serve again
SHOWN_OF_A_BODY = 1_000  # characters that are kept of it
SHOWN_HEADERS = frozenset({"content-type", "content-length", "retry-after", "location", "server", "date"})
SWEPT_AT_ONCE = 5_000
log = logging.getLogger("webhooks.delivery")
_is_running = threading.Lock()


@dataclass(frozen=True, slots=True)
class Claimed:
    """A delivery that is this worker's for the length of a lease."""

    delivery_id: UUID
    organization_id: UUID
    endpoint_id: UUID
    url: str
    sealed_keys: bytes
    sealed_previous: bytes | None
    event_id: UUID
    body: str
    attempt: int
    is_test: bool


@dataclass(slots=True)
class Outcome:
    """What came of one request: `delivered`, `retry` or `dead`; for `hold` seconds the endpoint wants no other."""

    outcome: str
    sentence: str
    status: int | None = None
    code: str = ""
    retry_in: float | None = None
    hold: float | None = None
    response: dict[str, Any] = field(default_factory=dict)


@functools.cache
def door() -> http.Door:
    """This process's, with its open connections; threads that ask for the first time at once would get several."""
    return http.Door()


def deliver(*, budget: float = BUDGET) -> int:
    """Send what is due until nothing is, or for `budget` seconds; returns how many requests were made.

    Where this process is at it already, 0 at once.
    """
    if not _is_running.acquire(blocking=False):
        return 0
    try:
        with ThreadPoolExecutor(SLOTS, "webhook") as threads:
            return _run(threads, time.monotonic() + budget)
    finally:
        _is_running.release()


def _run(threads: ThreadPoolExecutor, ends_at: float) -> int:
    ended: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
    under_way, made, through = 0, 0, door()
    results: list[dict[str, Any] | None] = []
    while True:
        free = SLOTS - under_way
        # looking for work costs as much for one slot as for all: wait for some, unless those that are left hang
        is_time = free >= SLOTS // 2 or (free and not results)
        for one in _claim(free) if is_time and time.monotonic() < ends_at else ():
            threads.submit(_work, one, through, ended)
            under_way += 1
        if not under_way:
            return made
        results = _take(ended)
        under_way -= len(results)
        made += len(results)
        _settle([one for one in results if one is not None])


def _claim(slots: int) -> list[Claimed]:
    with unscoped(reason="deliveries of every organization are made by one loop") as wide:
        rows = wide.rows("webhooks_claim", slots, EACH, OF_ONE, MOST_ATTEMPTS, LEASE)
    return [Claimed(**row) for row in rows]


def _take(ended: "queue.SimpleQueue[dict[str, Any] | None]") -> list[dict[str, Any] | None]:
    """All that has ended, waiting a little for the first."""
    results = []
    try:
        results.append(ended.get(timeout=0.2))
        while True:
            results.append(ended.get_nowait())
    except queue.Empty:
        return results


def _work(one: Claimed, through: http.Door, ended: "queue.SimpleQueue[dict[str, Any] | None]") -> None:
    result = None
    try:
        result = send(one, through)
    except Exception:
        # its lease ends by itself, it is tried again, and given up after as many attempts as any other
        log.exception("webhooks.failed delivery=%s organization=%s", one.delivery_id, one.organization_id)
    finally:
        ended.put(result)


def send(one: Claimed, through: http.Door) -> dict[str, Any]:
    """Make one request; returns its row for `webhooks_settle`. No transaction may be open."""
    started_at, started = timezone.now(), time.monotonic()
    body = one.body.encode()
    keys = [signing.unseal(bytes(sealed)) for sealed in (one.sealed_keys, one.sealed_previous) if sealed]
    signed = signing.headers(keys, message_id=str(one.event_id), at=int(started_at.timestamp()), body=body)
    sent = {"Content-Type": "application/json", "User-Agent": "Capsule-Memory-Cloud-Webhooks/1", **signed}
    try:
        answer = through.send("POST", one.url, headers=sent, body=body, timeout=TIMEOUT, most=MOST_OF_A_BODY)
    except http.HttpError as error:
        outcome = judge(error, attempt=one.attempt, is_test=one.is_test)
    else:
        outcome = judge(answer, attempt=one.attempt, is_test=one.is_test)
    return {
        "delivery_id": one.delivery_id,
        "organization_id": one.organization_id,
        "endpoint_id": one.endpoint_id,
        "attempt": one.attempt,
        "is_test": one.is_test,
        "started_at": started_at,
        "milliseconds": int((time.monotonic() - started) * 1000),
        "outcome": outcome.outcome,
        "sentence": outcome.sentence,
        "status": outcome.status,
        "code": outcome.code,
        "retry_in": outcome.retry_in,
        "hold": outcome.hold,
        "request": {"url": shown_url(one.url), "headers": {**sent, "webhook-signature": _redacted(signed)}},
        "response": outcome.response,
    }


def judge(got: http.Answer | http.HttpError, *, attempt: int, is_test: bool) -> Outcome:
    """What an answer, or the lack of one, means for a delivery at this attempt (from 1).

    2xx is success, whatever its body. 410 ends the endpoint. Everything else is tried again, later each time; 429 and
    503 say when. A test is sent once.
    """
    if isinstance(got, http.HttpError):
        outcome = Outcome("retry", str(got), code=got.code)
    else:
        outcome = Outcome("retry", f"Answered {got.status}.", status=got.status, response=_shown(got))
        if 200 <= got.status < 300:
            outcome.outcome = "delivered"
            return outcome
        if got.status == 410:
            outcome.outcome = "dead"
            return outcome
        if 300 <= got.status < 400:
            outcome.sentence = f"Answered {got.status}: redirects are not followed, so give the address itself."
        if got.status in {429, 503}:
            outcome.hold = retry_after(got.header("retry-after"))
    if is_test or attempt >= MOST_ATTEMPTS:
        outcome.outcome = "dead"
    else:
        pause = PAUSES[attempt - 1] * (1 + random.random() * 0.2)  # noqa: S311  # spreads load, guards nothing
        outcome.retry_in = max(pause, outcome.hold or 0)
    return outcome


def retry_after(text: str) -> float | None:
    """Seconds of a Retry-After header (RFC 9110: seconds, or a date), at most a day; None without a usable one."""
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), LONGEST_RETRY_AFTER)
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return None
    if at.tzinfo is None:
        return None
    return min(max((at - timezone.now()).total_seconds(), 0.0), LONGEST_RETRY_AFTER)


def _shown(answer: http.Answer) -> dict[str, Any]:
    """An excerpt of an answer that may be kept: no cookies, no tokens, and nothing that PostgreSQL cannot store."""
    text = answer.body[: SHOWN_OF_A_BODY * 4].decode("utf-8", "replace").replace("\0", "\N{REPLACEMENT CHARACTER}")
    headers = {name: _plain(value) for name, value in answer.headers if name.lower() in SHOWN_HEADERS}
    is_whole = answer.is_whole and len(text) <= SHOWN_OF_A_BODY
    return {"headers": headers, "body": text[:SHOWN_OF_A_BODY], "is_whole": is_whole}


def _plain(value: str) -> str:
    return shown_url(value.replace("\0", ""))[:200]


def _redacted(signed: dict[str, str]) -> str:
    return " ".join(f"{text.partition(',')[0]},…" for text in signed["webhook-signature"].split(" "))


def _settle(results: list[dict[str, Any]]) -> None:
    if not results:
        return
    with unscoped(reason="what came of everybody's deliveries is written down at once") as wide:
        changed = wide.rows("webhooks_settle", orjson.dumps(results).decode(), LONGEST_PAUSE)
    for row in changed:
        _look_after(row)


def _look_after(row: dict[str, Any]) -> None:
    """End or pause the endpoint where that is due; a failure is logged, and the next round comes back to it."""
    if not row["is_gone"] and not _has_failed_long(row["failures"], row["failing_since"]):
        return
    try:
        with scope(row["organization_id"]):
            if row["is_gone"]:
                services.disable_gone(endpoint_id=row["endpoint_id"])
            else:
                services.pause_failing(endpoint_id=row["endpoint_id"])
    except Exception:
        log.exception("webhooks.look_after_failed endpoint=%s", row["endpoint_id"])


def _has_failed_long(failures: int, since: datetime | None) -> bool:
    is_long = since is not None and since <= timezone.now() - services.PAUSE_AFTER
    return is_long and failures >= services.LEAST_FAILURES


def tidy() -> tuple[int, int]:
    """Give up what waited for seven days and delete what is older than it is kept; returns how much of each."""
    given_up = deleted = 0
    with unscoped(reason="logs of every organization end with their time") as wide:
        while True:
            [row] = wide.rows("webhooks_tidy", services.WAITS, services.KEPT, SWEPT_AT_ONCE)
            given_up, deleted = given_up + row["given_up"], deleted + row["deleted"]
            if max(row["given_up"], row["deleted"]) < SWEPT_AT_ONCE:
                return given_up, deleted
