"""New end users meet the limit on end users; those who are in go on, and cost no question."""

import multiprocessing
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection, connections
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from billing.metering.meters import Meter
from billing.metering.models import UsageEvent
from billing.metering.services import Use
from billing.quotas import applying, notices, selectors, services
from billing.quotas.end_users import end_users
from billing.quotas.models import ActiveUser, Counter, Notice, ParkedWrite
from billing.quotas.services import QuotaReached, admit, undo
from capsule_cloud.api.limits import limiter
from tenancy.access import KeyPrincipal, reset_key_cache
from tenancy.errors import Invalid
from tenancy.models import Organization
from tenancy.scope import scope
from tests.billing.quotas.conftest import limit
from tests.factories import Tenant

Counting = Callable[..., Use]
STAMP = "as it was"


@pytest.fixture(autouse=True)
def _nobody_known() -> None:
    end_users.forget()


def room(tenant: Tenant, people: int | None, reaction: str = "") -> None:
    """Let the plan have so many end users, and with a reaction the customer's own cap."""
    if not reaction:
        limit(tenant, None, end_user_limit=people)
    else:
        with scope(tenant.organization):
            Organization.objects.update(features=["mcp", "parked_writes"], end_user_limit=None, operation_limit=None)
            services.set_cap(
                actor=tenant.actor,
                allowance="end_users",
                level="organization",
                subject_id=tenant.organization.pk,
                amount=people or 0,
                reaction=reaction,
            )
    reset_key_cache()


def counted(tenant: Tenant) -> int:
    """How many end users the counter has; as many as there are rows."""
    with scope(tenant.organization):
        counter = Counter.objects.get(allowance="end_users", span="period")
        assert counter.used == ActiveUser.objects.count()
        return counter.used


class Api:
    """The tenant's key at work, for one end user or another."""

    def __init__(self, tenant: Tenant) -> None:
        self.http = Client(headers=tenant.headers, raise_request_exception=False)

    def say(self, user: str | None, session: str = "", **more: Any) -> Any:
        """Send a turn; without a user to a session whoever has it."""
        body = {"user_message": "I like tea.", "assistant_response": "Noted."} | more
        body |= {} if user is None else {"user_id": user}
        path = f"/api/v1/sessions/{session or f's-{user}'}/ingest"
        return self.http.post(path, body, content_type="application/json")


@pytest.fixture
def api(tenant: Tenant) -> Api:
    """The tenant's key."""
    return Api(tenant)


def test_a_new_end_user_is_refused_at_the_limit_and_the_others_go_on(tenant: Tenant, api: Api) -> None:
    room(tenant, 2)
    assert [api.say(user).status_code for user in ("ann", "bob", "cid", "ann", "bob")] == [200, 200, 402, 200, 200]
    refused = api.say("cid")
    assert refused.headers["X-Error-Code"] == "quota_reached"
    assert "2 active end users" in refused.json()["detail"]
    assert api.http.get("/api/v1/recall", {"query": "tea", "user_id": "cid"}).status_code == 200, "reads go on"
    assert api.say("cid").status_code == 402, "and let nobody in"
    assert counted(tenant) == 2
    room(tenant, 3)
    assert api.say("cid").status_code == 200


def test_whoever_is_in_asks_nothing(committed: Tenant, use: Counting) -> None:
    room(committed, 2)
    for _ in range(2):  # the second time it is sure that nobody takes it back
        admit(use(end_user="ann"), stamp=STAMP)
    with CaptureQueriesContext(connection) as asked:
        admit(use(end_user="ann"), stamp=STAMP)
    assert not asked.captured_queries


def test_without_a_limit_nobody_is_counted_and_nothing_asked(tenant: Tenant, use: Counting) -> None:
    room(tenant, None)
    admit(use(Meter.WRITE, end_user="ann"), stamp=STAMP)
    with CaptureQueriesContext(connection) as asked:
        admit(use(Meter.WRITE, end_user="bob"), stamp=STAMP)
    assert not asked.captured_queries
    with scope(tenant.organization):
        assert not Counter.objects.filter(allowance="end_users").exists()


def test_a_changed_limit_is_asked_for_anew(tenant: Tenant, use: Counting) -> None:
    room(tenant, None)
    admit(use(Meter.WRITE, end_user="ann"), stamp=STAMP)
    room(tenant, 0)
    with pytest.raises(QuotaReached):
        admit(use(Meter.WRITE, end_user="ann"), stamp="as it is now")


def test_every_write_lets_in(tenant: Tenant, api: Api) -> None:
    room(tenant, 1)
    assert api.http.post("/api/v1/sessions?user_id=ann").status_code == 200
    assert api.http.post("/api/v1/sessions?user_id=bob").status_code == 402
    with scope(tenant.organization):
        assert not UsageEvent.objects.filter(end_user="bob").exists(), "nothing has happened"
    form = {"file": _file("tea.txt"), "user_id": "bob"}
    assert api.http.post("/api/v1/capsules/import", form).status_code == 402
    made = api.http.post("/api/v1/capsules/import", {"file": _file("tea.txt"), "user_id": "ann"}).json()
    fork = f"/api/v1/capsules/{made['capsule_id']}/fork"
    assert api.http.post(fork, {"new_user_id": "bob"}, content_type="application/json").status_code == 402
    assert counted(tenant) == 1


def _file(name: str) -> SimpleUploadedFile:
    return SimpleUploadedFile(name, b"I like tea.")


def test_a_session_without_a_name_is_its_owner_s(tenant: Tenant, api: Api) -> None:
    room(tenant, 1)
    assert api.say("ann", "s1").status_code == 200
    assert api.say(None, "s1").status_code == 200, "it is ann's"
    assert api.say(None, "s2").status_code == 402, "it would be the default user's"
    seal: dict[str, Any] = {"content_type": "application/json"}
    assert api.http.post("/api/v1/sessions/nowhere/seal", {}, **seal).status_code == 404
    assert api.http.post("/api/v1/sessions/s1/seal", {}, **seal).status_code == 200
    assert counted(tenant) == 1


def test_whose_write_fails_is_not_counted(committed: Tenant) -> None:
    tenant, api = committed, Api(committed)
    room(tenant, 2)
    assert api.say("ann", "s1").status_code == 200
    assert api.say("bob", "s1").status_code == 409, "it is ann's session"
    assert api.say("bob", "s2", user_message="").status_code == 400
    assert counted(tenant) == 1


def test_whose_second_write_fails_stays(tenant: Tenant, use: Counting) -> None:
    room(tenant, 2)
    first, second = admit(use(end_user="ann")), admit(use(end_user="ann"))
    undo(second)
    undo(first)
    assert counted(tenant) == 1, "another write may rely on it"


def test_who_was_active_before_there_was_a_limit_is_in(tenant: Tenant, api: Api) -> None:
    room(tenant, None)
    for user in ("ann", "bob", "ann"):
        assert api.say(user).status_code == 200
    room(tenant, 2, "stop")
    assert [api.say(user).status_code for user in ("cid", "ann", "bob")] == [402, 200, 200]
    assert counted(tenant) == 2


def test_who_came_while_there_was_no_cap_is_counted_when_there_is_one_again(tenant: Tenant, api: Api) -> None:
    room(tenant, 5, "stop")
    api.say("ann")
    with scope(tenant.organization):
        [cap] = selectors.caps()
        services.clear_cap(actor=tenant.actor, cap_id=cap.pk)
    reset_key_cache()
    api.say("bob")
    room(tenant, 2, "stop")
    assert [api.say(user).status_code for user in ("cid", "bob")] == [402, 200]


def test_the_customer_may_be_warned_alone(tenant: Tenant, api: Api) -> None:
    room(tenant, 2, "warn")
    assert {api.say(user).status_code for user in ("ann", "bob", "cid")} == {200}
    assert counted(tenant) == 3
    assert notices.say_crossed()
    with scope(tenant.organization):
        said = [one.sentence for one in Notice.objects.order_by("percent")]
    assert said[-1] == "100 % of the 2 active end users of your organization are used this billing period"


def test_the_customer_may_slow_new_ones_down(tenant: Tenant, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    weights: list[int] = []
    real = limiter.take

    def take(principal: KeyPrincipal, units: int = 1) -> Any:
        weights.append(units)
        return real(principal, units)

    monkeypatch.setattr(limiter, "take", take)
    room(tenant, 1, "throttle")
    for user in ("ann", "ann", "bob", "bob"):
        assert api.say(user).status_code == 200
    assert [weight for weight in weights if weight > 1] == [19], "bob's first write counts as 20 requests"


def test_a_new_one_s_writes_wait_in_a_lane_of_their_own(tenant: Tenant, api: Api) -> None:
    room(tenant, 1, "park")
    assert api.say("ann").status_code == 200
    assert [api.say("bob").status_code for _ in range(2)] == [202, 202]
    assert api.say("ann").status_code == 200, "nobody waits behind bob"
    assert applying.apply_due() == 0
    room(tenant, 2, "park")
    assert api.say("bob").status_code == 202, "it may not overtake"
    assert api.say("cid").status_code == 200, "who comes first is in"
    assert applying.apply_due() == 0
    room(tenant, 3, "park")
    assert applying.apply_due() == 3
    assert api.say("bob").status_code == 200
    assert counted(tenant) == 3
    with scope(tenant.organization):
        states = set(ParkedWrite.objects.values_list("state", "is_of_user"))
        told = UsageEvent.objects.filter(meter=Meter.INGEST, end_user="bob").count()
    assert (states, told) == ({("applied", True)}, 4)


def test_what_waits_for_operations_does_not_wait_for_end_users(tenant: Tenant, api: Api) -> None:
    room(tenant, 1, "park")
    api.say("ann")
    for amount in (1, 10):
        with scope(tenant.organization):
            services.set_cap(
                actor=tenant.actor,
                allowance="operations",
                level="organization",
                subject_id=tenant.organization.pk,
                amount=amount,
                reaction="park",
            )
        reset_key_cache()
        if amount == 1:
            assert [api.say(user).status_code for user in ("bob", "ann", "bob")] == [202, 202, 202]
    assert applying.apply_due() == 1, "ann's goes on, bob's wait for room"
    assert api.say("ann").status_code == 200
    assert api.say("bob").status_code == 202
    room(tenant, 2, "park")
    with scope(tenant.organization):
        Organization.objects.update(operation_limit=None)
    assert applying.apply_due() == 3


def test_a_new_period_begins_with_nobody(committed: Tenant) -> None:
    tenant, api = committed, Api(committed)
    room(tenant, 1)
    assert [api.say(user).status_code for user in ("ann", "bob")] == [200, 402]
    now = timezone.now()
    with scope(tenant.organization):
        Organization.objects.update(period_start=now, period_end=now + timedelta(days=30))
    reset_key_cache()
    assert [api.say(user).status_code for user in ("bob", "ann")] == [200, 402]


def test_end_users_have_one_cap_for_everybody(tenant: Tenant) -> None:
    with scope(tenant.organization), pytest.raises(Invalid):
        services.set_cap(
            actor=tenant.actor,
            allowance="end_users",
            level="project",
            subject_id=tenant.project.pk,
            amount=1,
            reaction="stop",
        )


PROCESSES, LIMIT = 8, 60


def _run(use: Callable[[str], Use], number: int, start: Any, results: Any) -> None:
    """One process: new end users, some of them the others' too, until it is refused; says who was let in."""
    start.wait()
    let_in = []
    for turn in range(LIMIT):
        name = f"shared-{turn}" if turn % 3 else f"{number}-{turn}"
        try:
            admit(use(name), stamp=STAMP)
        except QuotaReached:
            continue
        let_in.append(name)
    results.put(let_in)
    connections.close_all()


def test_eight_processes_at_once_let_in_exactly_as_many(committed: Tenant) -> None:
    room(committed, LIMIT)

    def use(name: str) -> Use:
        return Use(committed.organization.pk, committed.project.pk, committed.key.pk, Meter.INGEST, end_user=name)

    fork = multiprocessing.get_context("fork")
    start, results = fork.Barrier(PROCESSES), fork.SimpleQueue()
    connections.close_all()  # a child must not end its parent's connection
    children = [fork.Process(target=_run, args=(use, number, start, results)) for number in range(PROCESSES)]
    for child in children:
        child.start()
    let_in = [results.get() for _ in children]
    for child in children:
        child.join()
    assert len(set().union(*let_in)) == LIMIT
    assert counted(committed) == LIMIT
    assert sum(bool(names) for names in let_in) > 1, "it was a race"
