"""Users and groups provisioned over HTTP beside scim2-server, and reads in directories of very different sizes."""

import http.client
import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from tenancy.models import Organization
from tenancy.scim.adapters import UserAdapter
from tenancy.scim.models import Directory, DirectoryUser
from tenancy.scim.resources import PROVIDER, UserModel
from tenancy.scope import scope
from tests.bench import house, loading, report
from tests.bench.world import NO_LIMIT, World
from tests.factories import Tenant, make_tenant
from tests.tenancy.scim.directory_things import connected
from tests.tenancy.sso.saml.conftest import own

USER = "urn:ietf:params:scim:schemas:core:2.0:User"
GROUP = "urn:ietf:params:scim:schemas:core:2.0:Group"
ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
USERS, GROUPS, MEMBERS = 10_000, 500, 20
QUICK_USERS, QUICK_GROUPS = 500, 25
SIZES, QUICK_SIZES = (1_000, 10_000, 100_000), (500, 5_000)
CLIENTS = 4
READS = 300
FLAT = 2.0  # times the smallest directory's
CHUNK = 1_000
PAGE = 100


@dataclass(frozen=True, slots=True)
class Target:
    """A SCIM server, and how to speak with it."""

    url: str
    path: str
    headers: dict[str, str]
    domain: str


def measure(world: World) -> str:
    """A table: requests a second of a first provisioning, and the 95th percentile of reads by the directory's size."""
    users, groups = (QUICK_USERS, QUICK_GROUPS) if world.is_quick else (USERS, GROUPS)
    with house.product(SCIM_REQUESTS_PER_MINUTE=str(NO_LIMIT)) as server:
        _, domain, _, secret = _directory()
        mine = _ours(server.url, secret, domain)
        ours = _provision(mine, users, groups)
        ours_read = _read_back(mine, users)
        rows = [_reads(server.url, size) for size in (QUICK_SIZES if world.is_quick else SIZES)]
    with house.scim_peer() as server:
        peer = Target(server.url, "/v2", {}, domain)
        theirs = _provision(peer, users, groups)
        theirs_read = _read_back(peer, users)
    first = report.Row(
        f"{users:,} users and {groups:,} groups of {MEMBERS}, as directories do it: found, made, put together",
        f"{ours:,.0f} requests/s",
        f"{theirs:,.0f} requests/s",
        report.ratio(ours / theirs),
        "≥ 1 x",
        ours >= theirs,
    )
    whole = report.Row(
        f"the {users:,} users read back in pages of {PAGE}",
        f"{ours_read:,.0f} users/s",
        f"{theirs_read:,.0f} users/s",
        report.ratio(ours_read / theirs_read),
        "≥ 1 x",
        ours_read >= theirs_read,
    )
    columns = ("ours: accounts, members, audit, log", "scim2-server, in memory")
    return report.table(columns, [first, whole, *_flat(rows)])


Read = tuple[int, dict[str, float]]


def _flat(rows: list[Read]) -> Iterator[report.Row]:
    least = rows[0][1]
    for size, taken in rows:
        for name, p95 in taken.items():
            times = p95 / least[name]
            is_flat = None if size == rows[0][0] else times <= FLAT
            target = "" if is_flat is None else f"≤ {FLAT:g} x of {rows[0][0]:,}"
            yield report.Row(
                f"{name}, of {size:,} users, p95", f"{p95:.1f} ms", "", report.ratio(times), target, is_flat
            )


def _directory() -> tuple[Tenant, str, Directory, str]:
    tenant = make_tenant()
    domain = own(tenant)
    with scope(tenant.organization):
        Organization.objects.update(member_limit=NO_LIMIT)
    directory, _, secret = connected(tenant)
    return tenant, domain, directory, secret


def _ours(url: str, secret: str, domain: str) -> Target:
    return Target(url, "/scim/v2", {"Authorization": f"Bearer {secret}"}, domain)


def _provision(target: Target, users: int, groups: int) -> float:
    """Requests a second of a directory's first synchronisation, by several connections at once."""
    ids: list[str] = [""] * users
    clients = threading.local()

    def ask(method: str, path: str, body: Any = None) -> Any:
        if not hasattr(clients, "one"):
            clients.one = Client(target)
        return clients.one(method, path, body)

    def bring(number: int) -> None:
        user = _user(number, target.domain)
        if ask("GET", "/Users" + found("userName", user["userName"]))["totalResults"]:
            raise RuntimeError("The user is there already.")
        ids[number] = ask("POST", "/Users", user)["id"]

    def group(number: int) -> None:
        name = f"Group {number}"
        if ask("GET", "/Groups" + found("displayName", name) + "&excludedAttributes=members")["totalResults"]:
            raise RuntimeError("The group is there already.")
        made = ask("POST", "/Groups", {"schemas": [GROUP], "displayName": name})
        inside = [{"value": ids[(number * MEMBERS + n) % users]} for n in range(MEMBERS)]
        operation = {"op": "Add", "path": "members", "value": inside}
        ask("PATCH", f"/Groups/{made['id']}", {"schemas": [PATCH], "Operations": [operation]})

    start = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as threads:
        list(threads.map(bring, range(users)))
        list(threads.map(group, range(groups)))
    return (2 * users + 3 * groups) / (time.perf_counter() - start)


def _read_back(target: Target, users: int) -> float:
    """Users a second, when a directory imports what it finds here."""
    ask, start, seen = Client(target), time.perf_counter(), 0
    while seen < users:
        page = ask("GET", f"/Users?startIndex={seen + 1}&count={PAGE}")
        seen += len(page["Resources"])
    return users / (time.perf_counter() - start)


def _user(number: int, domain: str) -> dict[str, Any]:
    email = f"user{number}@{domain}"
    return {
        "schemas": [USER, ENTERPRISE],
        "userName": email,
        "externalId": f"directory-{number}",
        "name": {"givenName": "Ada", "familyName": f"Number {number}"},
        "displayName": f"Ada Number {number}",
        "title": f"Engineer {number % 100}",
        "active": True,
        "emails": [{"value": email, "type": "work", "primary": True}],
        ENTERPRISE: {"department": f"Department {number % 50}", "employeeNumber": str(number)},
    }


def found(attribute: str, value: str) -> str:
    """The query that finds who has the value."""
    return "?filter=" + quote(f'{attribute} eq "{value}"')


class Client:
    """One kept connection to a SCIM server."""

    def __init__(self, target: Target) -> None:
        place = urlsplit(target.url)
        self.target = target
        self.connection = http.client.HTTPConnection(place.hostname or "", place.port)

    def __call__(self, method: str, path: str, body: Any = None) -> Any:
        """The answer's JSON. Raises RuntimeError where it is a refusal."""
        headers = {"Content-Type": "application/scim+json", **self.target.headers}
        content = None if body is None else json.dumps(body).encode()
        self.connection.request(method, self.target.path + path, content, headers)
        answer = self.connection.getresponse()
        text = answer.read()
        if answer.status >= http.HTTPStatus.BAD_REQUEST:
            raise RuntimeError(f"{method} {path}: {answer.status} {text.decode()}")
        return json.loads(text) if text else None


def _reads(url: str, size: int) -> Read:
    """How long the slowest twentieth of reads takes in a directory of that size."""
    tenant, domain, directory, secret = _directory()
    _fill(tenant, directory, domain, size)
    ask = Client(_ours(url, secret, domain))
    dice = random.Random(size)
    asked: dict[str, Callable[[int], str]] = {
        f"a page of {PAGE}": lambda n: f"?startIndex={n + 1}&count={PAGE}",
        "userName eq": lambda n: found("userName", f"user{n}@{domain}"),
        "externalId eq": lambda n: found("externalId", f"directory-{n}"),
        "emails.value eq": lambda n: found("emails.value", f"user{n}@{domain}"),
        "employeeNumber eq": lambda n: found(f"{ENTERPRISE}:employeeNumber", str(n)),
    }
    return size, {name: _p95(ask, query, dice, size) for name, query in asked.items()}


def _p95(ask: Client, query: Callable[[int], str], dice: random.Random, size: int) -> float:
    taken = []
    for _ in range(READS):
        path = f"/Users{query(dice.randrange(size - 100))}"
        start = time.perf_counter()
        if not ask("GET", path)["Resources"]:
            raise RuntimeError(f"Nothing is found by {path}.")
        taken.append(time.perf_counter() - start)
    return sorted(taken)[READS * 95 // 100] * 1000


def _fill(tenant: Tenant, directory: Directory, domain: str, size: int) -> None:
    """Users in the directory who are nobody's members: reads do not ask for that."""
    with PROVIDER:
        for start in range(0, size, CHUNK):
            rows = []
            for number in range(start, min(start + CHUNK, size)):
                row = DirectoryUser(directory=directory)
                UserAdapter(row).take(UserModel.model_validate(_user(number, domain)))
                row.name_key = row.user_name
                rows.append(row)
            with scope(tenant.organization):
                DirectoryUser.objects.bulk_create(rows)
    with scope(tenant.organization):
        Directory.objects.filter(pk=directory.pk).update(user_count=size)
    loading.settle()
