"""How long Stripe waits for its answer, and how fast a worker deals with what came."""

import http.client
import json
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import SplitResult, urlsplit

from django.db import connections

from billing import stripe_events
from billing.models import StripeEvent
from billing.sandbox import keys
from billing.services import inbox
from billing.stripe_client import client
from capsule_cloud.management.commands.dev import JOB_THREADS
from tests.bench import house, report
from tests.bench.world import World
from tests.billing.signing import PATH, make_event, signature

EVENTS, OBJECTS = 2_000, 200
ALLOWED_MS, LEAST_DRAINED = 50, 20


def measure(world: World) -> str:
    """A table: the answer to a signed event over HTTP, and the inbox emptied by one worker."""
    events, objects = (EVENTS // 10, OBJECTS // 10) if world.is_quick else (EVENTS, OBJECTS)
    with house.product() as server:
        taken = sorted(_answer(urlsplit(server.url), events))
    p50, p99 = taken[events // 2] * 1000, taken[events * 99 // 100] * 1000
    done, seconds = _drain(objects)
    rows = [
        report.Row(
            "an event is stored and answered, p50 / p99",
            f"{p50:.1f} ms / {p99:.1f} ms",
            "",
            "",
            f"p99 < {ALLOWED_MS} ms",
            p99 < ALLOWED_MS,
        ),
        report.Row(
            f"one worker of {JOB_THREADS} threads fetches, mirrors and applies {objects} objects",
            f"{done / seconds:,.0f} events/s",
            "",
            "",
            f"≥ {LEAST_DRAINED}/s",
            done / seconds >= LEAST_DRAINED,
        ),
    ]
    return report.table(("measured", ""), rows)


def _answer(place: SplitResult, events: int) -> list[float]:
    """Seconds that each event's answer took, on one kept connection. Raises RuntimeError where one was refused."""
    connection = http.client.HTTPConnection(place.hostname or "", place.port)
    taken = []
    for _ in range(events):
        body = json.dumps(make_event("radar.review")).encode()  # nothing is fetched for it
        headers = {"Stripe-Signature": signature(body, keys.webhook_secret()), "Content-Type": "application/json"}
        start = time.perf_counter()
        connection.request("POST", PATH, body, headers)
        answer = connection.getresponse()
        text = answer.read()
        taken.append(time.perf_counter() - start)
        if answer.status != http.HTTPStatus.OK:
            raise RuntimeError(text.decode())
    connection.close()
    return taken


def _work(_: int) -> None:
    """What a job thread does when it is woken."""
    try:
        while stripe_events.process():
            pass
    finally:
        connections.close_all()


def _drain(objects: int) -> tuple[int, float]:
    """Events dealt with, and how many seconds that took; each is about an object of its own."""
    for n in range(objects):
        made = client().create_customer(organization_id="bench", name=f"Customer {n}", email="", key="")
        event = make_event("customer", made["id"])
        inbox.receive(event)
    start = time.perf_counter()
    with ThreadPoolExecutor(JOB_THREADS) as threads:
        list(threads.map(_work, range(JOB_THREADS)))
    seconds = time.perf_counter() - start
    return StripeEvent.objects.filter(status="done", object_kind="customer").count(), seconds
