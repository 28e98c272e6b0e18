"""What a tenant waits for, timed with the real services on whatever the database holds."""

import random
import time
from collections.abc import Callable, Iterator
from itertools import cycle
from typing import Any
from uuid import UUID

import httpx
import psycopg
from django.db import transaction

from billing.metering import selectors as usage
from capsule_cloud.lib import embedded
from tenancy import access, selectors
from tenancy.audit import selectors as trail
from tenancy.audit.services import Actor
from tenancy.models import User
from tenancy.roles import KeyScope, Role
from tenancy.scope import scope
from tenancy.services import keys, organizations
from tests.bench.tenants import SIGN_UP, Figures
from tests.factories import make_user

ROUNDS, WARMING, SIGN_UPS, SAMPLE = 400, 50, 20, 500


def measure(url: str) -> Figures:
    """Seconds of each wait, at tenants taken by chance."""
    organization_ids, users = sample()
    somewhere, somebody = cycle(organization_ids), cycle(users)
    digests = known_digests()

    def inside(read: Callable[[], Any]) -> Callable[[], None]:
        def work() -> None:
            with scope(next(somewhere)):
                read()

        return work

    return {
        "key lookup, not cached": timed(lambda: access._find(next(digests))),
        "a person's organizations": timed(lambda: access.memberships(next(somebody))),
        "projects of an organization": timed(inside(selectors.projects)),
        "API keys of an organization": timed(inside(selectors.keys)),
        "newest audit events": timed(inside(trail.events)),
        "usage of 30 days": timed(inside(usage.last_days)),
        "a new organization": timed(
            lambda: organizations.create(user=next(somebody), name="Bench"), rounds=SIGN_UPS * 3
        ),
        SIGN_UP: sign_ups(url),
    }


def sample() -> tuple[list[UUID], list[User]]:
    """Organizations by chance, and their members."""
    with psycopg.connect(embedded.urls().superuser) as server:
        found = server.execute(
            "SELECT organization_id, user_id FROM tenancy_membership ORDER BY random() LIMIT %s",
            [SAMPLE],
        ).fetchall()
    return [row[0] for row in found], [User(pk=row[1], email="x@example.com") for row in found]


def known_digests() -> Iterator[bytes]:
    """Digests of stored keys by chance, for ever."""
    with psycopg.connect(embedded.urls().superuser) as server:
        found = [row[0] for row in server.execute("SELECT digest FROM tenancy_apikey ORDER BY random() LIMIT 500")]
    random.shuffle(found)
    return cycle(found)


def timed(work: Callable[[], Any], rounds: int = ROUNDS) -> list[float]:
    """Run it often, after some rounds that do not count."""
    for _ in range(min(WARMING, rounds)):
        work()
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return seconds


def sign_ups(url: str) -> list[float]:
    """From the commit of a sign-up to the answer of the first API call, with a key made between."""
    seconds = []
    with httpx.Client(base_url=url, timeout=30) as client:
        for _ in range(SIGN_UPS):
            with transaction.atomic():
                user = make_user()
            start = time.perf_counter()
            organization = organizations.create(user=user, name="Bench")
            with scope(organization):
                maker = keys.Maker(Actor("user", str(user.pk), user.email), user=user, role=Role.OWNER)
                project_id = selectors.projects()[0].pk
                made = keys.create(maker=maker, project_id=project_id, name="First", scopes=list(KeyScope))
            client.get("/v1/organization", headers={"Authorization": f"Bearer {made.secret}"}).raise_for_status()
            seconds.append(time.perf_counter() - start)
    return seconds
