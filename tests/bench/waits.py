"""What a tenant waits for, timed with the real services on whatever the database holds."""

import time
from collections.abc import Callable
from itertools import cycle
from typing import Any
from uuid import uuid4

import httpx
import psycopg
from django.db import connections

from billing.metering import selectors as usage
from tenancy import access, selectors
from tenancy.audit import selectors as trail
from tenancy.audit.services import Actor
from tenancy.models import User
from tenancy.roles import KeyScope, Role
from tenancy.scope import scope
from tenancy.services import keys, organizations
from tests.bench.tenants import SIGN_UP, Figures, address
from tests.factories import make_user

ROUNDS, EACH, SAMPLE = 12, 40, 500
Waits = dict[str, Callable[[], Any]]


def measure(servers: dict[str, str]) -> dict[str, Figures]:
    """Seconds of each wait in each database (its name, and the URL of a server on it), at tenants taken by chance.

    The databases take turns, so that whatever else the machine does meets both.
    """
    waits = {database: waits_in(database, url) for database, url in servers.items()}
    figures: dict[str, Figures] = {database: {name: [] for name in waits[database]} for database in servers}
    for turn in range(ROUNDS + 1):
        for database, works in waits.items():
            connections["default"].close()
            connections["default"].settings_dict["NAME"] = database
            for name, work in works.items():
                seconds = timed(work, 2 if name == SIGN_UP else EACH)
                figures[database][name] += seconds if turn else []  # the first turn only warms
    return figures


def waits_in(database: str, url: str) -> Waits:
    """What to time in a database."""
    with psycopg.connect(address("superuser", database)) as server:
        found = server.execute(
            "SELECT organization_id, user_id FROM tenancy_membership ORDER BY random() LIMIT %s", [SAMPLE]
        ).fetchall()
        keys_made = server.execute("SELECT digest FROM tenancy_apikey ORDER BY random() LIMIT %s", [SAMPLE]).fetchall()
        [(founder_id,)] = server.execute("SELECT id FROM tenancy_user WHERE email = 'founder@example.com'")
    founder = User(pk=founder_id, email="founder@example.com")
    somewhere = cycle([row[0] for row in found])
    somebody = cycle([User(pk=row[1], email="x@example.com") for row in found])
    digests = cycle([row[0] for row in keys_made])

    def inside(read: Callable[[], Any]) -> Callable[[], None]:
        def work() -> None:
            with scope(next(somewhere)):
                read()

        return work

    return {
        "key lookup, not cached": lambda: access._find(next(digests)),
        "a person's organizations": lambda: access.memberships(next(somebody)),
        "projects of an organization": inside(selectors.projects),
        "API keys of an organization": inside(selectors.keys),
        "newest audit events": inside(trail.events),
        "usage of 30 days": inside(usage.last_days),
        "a new organization": lambda: organizations.create(user=founder, name=uuid4().hex),
        SIGN_UP: lambda: sign_up(url),
    }


def timed(work: Callable[[], Any], rounds: int) -> list[float]:
    """Seconds of each run."""
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return seconds


def sign_up(url: str) -> None:
    """A person, an organization, a key, and the answer of the first API call."""
    user = make_user()
    organization = organizations.create(user=user, name=uuid4().hex)
    with scope(organization):
        maker = keys.Maker(Actor("user", str(user.pk), user.email), user=user, role=Role.OWNER)
        project_id = selectors.projects()[0].pk
        made = keys.create(maker=maker, project_id=project_id, name="First", scopes=list(KeyScope))
    headers = {"Authorization": f"Bearer {made.secret}"}
    httpx.get(f"{url}/v1/organization", headers=headers, timeout=30).raise_for_status()
