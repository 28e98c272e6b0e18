"""How long after a directory has sent `active: false` a key of that person still opens anything, under constant use."""

import http.client
import json
import threading
import time
from dataclasses import dataclass, field
from statistics import median, quantiles
from typing import Any
from urllib.parse import urlsplit

from tenancy.audit.services import Actor
from tenancy.models import Organization
from tenancy.roles import KeyScope
from tenancy.scim.models import DirectoryUser
from tenancy.scope import scope
from tenancy.services import keys
from tests.bench import house, report
from tests.bench.load import NotMeasured
from tests.bench.machine import Cpu
from tests.bench.report import Row
from tests.bench.world import NO_LIMIT, World
from tests.factories import Tenant, make_tenant
from tests.tenancy.scim.directory_things import account_of, connected
from tests.tenancy.sso.saml.conftest import own

LEAVERS, QUICK_LEAVERS = 100, 20
CALLERS = 4  # of each key, on connections of their own: both of the server's processes know the key
APART = 0.01  # seconds between two calls of one of them
PATIENCE = 30.0  # seconds
ALLOWED = 1.0  # seconds, of the last of them
WARM_UP = 20  # requests, which reach every process
SEARCH = {"schemas": ["urn:ietf:params:scim:api:messages:2.0:SearchRequest"], "count": 1}
USER = {"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "active": True}
PATCH: dict[str, Any] = {
    "schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
    "Operations": [{"op": "replace", "path": "active", "value": False}],
}


@dataclass(slots=True)
class Caller:
    """Calls by a key until it is refused, and remembers when it was last served."""

    url: str
    secret: str
    first: threading.Event = field(default_factory=threading.Event)
    served_at: float = 0.0

    def run(self) -> None:
        """Call a hundred times a second or so."""
        connection, headers = _connect(self.url), {"Authorization": f"Bearer {self.secret}"}
        deadline = time.perf_counter() + PATIENCE
        while time.perf_counter() < deadline:
            connection.request("GET", "/v1/organization", headers=headers)
            answer = connection.getresponse()
            answer.read()
            if answer.status != http.HTTPStatus.OK:
                break
            self.served_at = time.perf_counter()
            self.first.set()
            time.sleep(APART)
        connection.close()


def measure(world: World) -> str:
    """A table: from the request that deactivates somebody to the last call that their key opened."""
    count = QUICK_LEAVERS if world.is_quick else LEAVERS
    tenant = make_tenant()
    domain = own(tenant)
    with scope(tenant.organization):
        limits = {"member_limit": NO_LIMIT, "key_limit": NO_LIMIT, "requests_per_minute": NO_LIMIT}
        Organization.objects.update(**limits)
    _, _, token = connected(tenant)
    with house.product(SCIM_REQUESTS_PER_MINUTE=str(NO_LIMIT)) as server:
        for _ in range(WARM_UP):  # a production server loads the engine as it starts
            _send(server.url, token, "POST", "/Users/.search", SEARCH)
        cpu, delays = Cpu(), []
        for number in range(count):
            user_id = _send(server.url, token, "POST", "/Users", USER | {"userName": f"leaver-{number}@{domain}"})["id"]
            delays.append(_deprovision(server.url, token, user_id, _key_of(tenant, user_id)))
        others = cpu.others()
    sent, answered = zip(*delays, strict=True)
    rows = [_row("the request → the last call by the key", sent), _row("its answer → the last call", answered)]
    told = f"{count} people, each key in use on {CALLERS} connections"
    return f"{report.table((told, ''), rows)}\n\nOthers used {others:.0%} of the machine meanwhile."


def _row(what: str, delays: tuple[float, ...]) -> Row:
    p95 = quantiles(delays, n=20, method="inclusive")[18]
    shown = f"p50 {median(delays):.2f} s, p95 {p95:.2f} s, at most {max(delays):.2f} s"
    return Row(what, shown, "", "", f"at most {ALLOWED:g} s", max(delays) < ALLOWED)


def _key_of(tenant: Tenant, user_id: str) -> str:
    with scope(tenant.organization):
        user = account_of(DirectoryUser.objects.select_related("user").get(pk=user_id))
        maker = keys.Maker(Actor("user", str(user.pk), user.email), user=user)
        made = keys.create(maker=maker, project_id=tenant.project.pk, name="Work", scopes=[KeyScope.ORG_READ])
    return made.secret


def _deprovision(url: str, token: str, user_id: str, secret: str) -> tuple[float, float]:
    """Seconds from the request, and from its answer, to the last call that was served."""
    callers = [Caller(url, secret) for _ in range(CALLERS)]
    threads = [threading.Thread(target=caller.run, daemon=True) for caller in callers]
    for thread in threads:
        thread.start()
    if not all(caller.first.wait(PATIENCE) for caller in callers):
        raise NotMeasured("A new key opened nothing.")
    sent_at = time.perf_counter()
    _send(url, token, "PATCH", f"/Users/{user_id}", PATCH)
    answered_at = time.perf_counter()
    for thread in threads:
        thread.join()
    last = max(caller.served_at for caller in callers)
    if last > answered_at + PATIENCE / 2:
        raise NotMeasured("A key of somebody who left was never refused.")
    return last - sent_at, max(0.0, last - answered_at)


def _send(url: str, token: str, method: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
    connection = _connect(url)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/scim+json"}
    connection.request(method, f"/scim/v2{path}", json.dumps(body), headers)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    if answer.status >= http.HTTPStatus.BAD_REQUEST:
        raise NotMeasured(f"The directory was answered with {answer.status}: {content[:500].decode()}")
    said: dict[str, Any] = json.loads(content or b"{}")
    return said


def _connect(url: str) -> http.client.HTTPConnection:
    parts = urlsplit(url)
    return http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=PATIENCE)
