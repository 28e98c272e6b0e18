"""Whatever happens in whichever order: no cap is passed, no parked write lost, and nothing is charged twice."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, ClassVar
from uuid import uuid4

import pytest
from django.utils import timezone
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from billing.metering.meters import Meter
from billing.metering.models import UsageEvent
from billing.metering.services import ship
from billing.metering.services.reports import Report
from billing.quotas import applying, counters, reported, selectors, services
from billing.quotas.end_users import EndUsers
from billing.quotas.leases import Leases
from billing.quotas.models import Counter, ParkedWrite
from billing.services import entitlements
from capsule_cloud.memory.models import Capsule, Session, Turn
from tenancy.access import reset_key_cache
from tenancy.audit.services import SYSTEM, Actor
from tenancy.models import Organization
from tenancy.scope import scope
from tests.billing.quotas.test_parking import Api
from tests.factories import make_tenant

USERS = st.sampled_from(["ann", "bob", "cid"])
MORE = st.integers(-2, 4)  # than has been used: where a limit matters
COUNTED = ["ingest", "recall", "seal", "import"]
SECOND = Actor("staff", "2", "second@example.com")
PROCESSES = 3


@dataclass(slots=True)
class Work:
    """What one write does, and the id under which it waits if it does."""

    user: str
    words: list[str] = field(default_factory=list)
    capsules: int = 0
    sessions: int = 0
    pk: str = ""

    @property
    def units(self) -> int:
        """What it draws from the operations."""
        return len(self.words) + self.capsules


@dataclass(slots=True)
class Model:
    """What a careful person would have written down."""

    used: int = 0
    plan: int | None = 25_000
    cap: int | None = None
    reaction: str = ""
    people: int | None = 1_000
    lost: int = 0  # units that died with a process, until a settling
    active: set[str] = field(default_factory=set)  # who has written
    parked: list[Work] = field(default_factory=list)
    happened: list[Work] = field(default_factory=list)

    @property
    def hard(self) -> int | None:
        """The limit that stops or parks."""
        limits = [self.plan, self.cap if self.reaction in {"stop", "park"} else None]
        return min((one for one in limits if one is not None), default=None)

    def fits(self, units: int) -> bool:
        """Whether so much more is within the limit."""
        return self.hard is None or self.used + units <= self.hard

    def has_room(self, user: str, readers: frozenset[str] = frozenset()) -> bool:
        """Whether the end user is in, or may come in; those who have read may be in, if no limit held then."""
        return self.people is None or user in self.active or len(self.active | readers) < self.people

    def happens(self, work: Work) -> None:
        """A write has happened."""
        assert not work.units or self.fits(work.units), (self, work)
        assert self.has_room(work.user), (self, work)
        self.used += work.units
        self.active.add(work.user)
        self.happened.append(work)


class Process:
    """What one of the server's processes holds and knows, and no other."""

    def __init__(self) -> None:
        self.leases, self.end_users = Leases(), EndUsers()

    @property
    def held(self) -> int:
        """Units that are counted and that nobody has used."""
        return sum(lease.held for _, lease in [*self.leases._held.items(), *self.leases._dropped])


class Caps(RuleBasedStateMachine):
    """Does what customers, plans and processes do."""

    patch: ClassVar[pytest.MonkeyPatch]

    def __init__(self) -> None:
        super().__init__()
        self.tenant, self.model, self.number = make_tenant(), Model(), 0
        self.api, self.now = Api(self.tenant), time.monotonic()
        self.processes = [Process() for _ in range(PROCESSES)]
        clock = SimpleNamespace(monotonic=lambda: self.now, time=time.time)
        self.patch.setattr("billing.quotas.leases.time", clock)
        self.go_on_as(0)
        with scope(self.tenant.organization):
            Organization.objects.update(features=["mcp", "parked_writes"])

    def teardown(self) -> None:
        """Lift everything: what was parked happens then, all of it, once and in order."""
        self.grant("operation_limit", None)
        self.grant("end_user_limit", None)
        self.clear_cap()
        self._apply()
        assert self.model.parked == []
        ship()
        with scope(self.tenant.organization):
            events = UsageEvent.objects.filter(meter__in=COUNTED)
            assert sum(events.values_list("quantity", flat=True)) == self.model.used
            for user in ("ann", "bob", "cid"):
                theirs = [work for work in self.model.happened if work.user == user]
                said = Turn.objects.filter(session__external_id=user, role="user").order_by("number")
                assert [turn.content for turn in said] == [word for work in theirs for word in work.words]
                assert Capsule.objects.filter(user_id=user).count() == sum(work.capsules for work in theirs)
                opened = Session.objects.filter(user_id=user).exclude(external_id=user)
                assert opened.count() == sum(work.sessions for work in theirs)
        self.give_all_back()

    @rule(number=st.integers(0, PROCESSES - 1))
    def go_on_as(self, number: int) -> None:
        """Another process answers."""
        self.process = self.processes[number]
        self.patch.setattr(services, "leases", self.process.leases)
        self.patch.setattr(services, "end_users", self.process.end_users)

    @rule(seconds=st.sampled_from([0.2, 1, 100]))
    def wait(self, seconds: float) -> None:
        """Time passes for leases; within two seconds every process looks for what lies idle."""
        self.now += seconds
        for one in self.processes if seconds > 2 else []:
            one.leases.give_back()

    @rule(user=USERS, units=st.integers(1, 3), is_bad=st.booleans(), is_once=st.booleans())
    def write(self, user: str, units: int, *, is_bad: bool, is_once: bool) -> None:
        """A turn or several, of which some would be refused whatever the caps."""
        words = [f"word {self.number + n}" for n in range(units)]
        self.number += units
        pairs = [{"user_message": word, "assistant_response": "" if is_bad else "Noted."} for word in words]

        def send() -> Any:
            return self.api.http.post(
                f"/api/v1/sessions/{user}/ingest",
                {"turns": pairs, "user_id": user},
                content_type="application/json",
                headers={"Idempotency-Key": str(uuid4())} if is_once else {},
            )

        if is_bad:
            assert send().status_code == 422
        else:
            self.does(send, Work(user, words), is_inside=is_once)

    @rule(user=USERS)
    def load(self, user: str) -> None:
        """A file becomes a capsule."""
        content = f"I like tea {self.number}.".encode()
        self.number += 1
        self.does(lambda: self.api.load(content=content, user_id=user), Work(user, capsules=1))

    @rule(user=USERS)
    def open(self, user: str) -> None:
        """A session is opened, which draws nothing: all that can be missing is room for its end user."""
        self.does(
            lambda: self.api.http.post("/api/v1/sessions", query_params={"user_id": user}), Work(user, sessions=1)
        )

    def does(self, send: Callable[[], Any], work: Work, *, is_inside: bool = False) -> None:
        """It happens, waits, or is refused: each only where it may be."""
        answer = send()
        if answer.status_code == 402 and not self.may_refuse(work, is_inside=is_inside):
            self.now += 0.5  # a refusal is remembered for so long
            answer = send()
        if answer.status_code == 200:
            is_behind = work.units and work.user in {one.user for one in self.model.parked}
            assert not is_behind, "it may not overtake"
            self.model.happens(work)
        elif answer.status_code == 202:
            assert self.model.parked or self.model.reaction == "park"
            work.pk = answer.json()["parked_id"]
            self.model.parked.append(work)
        else:
            assert answer.status_code == 402, answer.content
            assert self.may_refuse(work, is_inside=is_inside), self.model

    def may_refuse(self, work: Work, *, is_inside: bool) -> bool:
        """Whether there is no room, for what others hold; what is held here goes back first, outside a transaction."""
        if not self.model.has_room(work.user, frozenset({"ann"})):
            return True
        held = sum(one.held for one in self.processes if is_inside or one is not self.process)
        most = self.model.used + work.units + self.model.lost + held
        return bool(work.units) and self.model.hard is not None and most > self.model.hard

    @rule(times=st.integers(1, 5))
    def recall(self, times: int) -> None:
        """A read goes on at every cap, and counts."""
        for _ in range(times):
            assert self.api.http.get("/api/v1/recall", {"query": "tea", "user_id": "ann"}).status_code == 200
            self.model.used += 1

    @rule(units=st.integers(1, 3), is_again=st.booleans())
    def report(self, units: int, *, is_again: bool) -> None:
        """A data plane elsewhere reports what has happened, perhaps twice."""
        self.number += 1
        one = Report("//plane", str(self.number), Meter.RECALL, units, "", timezone.now())
        for _ in range(1 + is_again):
            with scope(self.tenant.organization):
                reported.take(project_id=self.tenant.project.pk, key_id=self.tenant.key.pk, reports=[one])
        reset_key_cache()
        self.model.used += units

    @rule(more=MORE, reaction=st.sampled_from(["stop", "park", "warn"]))
    def set_cap(self, more: int, reaction: str) -> None:
        """The customer chooses a cap, at most the plan's."""
        amount = max(0, self.model.used + more)
        if self.model.plan is not None and amount > self.model.plan:
            return
        self.a_limit_begins()
        with scope(self.tenant.organization):
            services.set_cap(
                actor=self.tenant.actor,
                allowance="operations",
                level="organization",
                subject_id=self.tenant.organization.pk,
                amount=amount,
                reaction=reaction,
            )
        self.model.cap, self.model.reaction = amount, reaction
        reset_key_cache()

    def a_limit_begins(self) -> None:
        """Where nothing was counted, what was read before is shipped: see what is not held in the decision."""
        if self.model.plan is None and self.model.cap is None:
            ship()

    @rule(times=st.integers(1, 5), number=st.integers(0, PROCESSES - 1), more=MORE)
    def read_past_a_cap_and_raise_it(self, times: int, number: int, more: int) -> None:
        """Somebody reads on at a cap, and it is raised a little, perhaps by another process."""
        self.set_cap(more=0, reaction="stop")
        self.recall(times=times)
        self.go_on_as(number)
        self.set_cap(more=more, reaction="stop")

    @rule()
    def clear_cap(self) -> None:
        """The customer takes it away."""
        with scope(self.tenant.organization):
            for cap in selectors.caps():
                services.clear_cap(actor=self.tenant.actor, cap_id=cap.pk)
        self.model.cap, self.model.reaction = None, ""
        reset_key_cache()

    @rule(more=st.none() | MORE)
    def change_plan(self, more: int | None) -> None:
        """The plan has another limit, or none."""
        self.grant("operation_limit", None if more is None else max(0, self.model.used + more))

    @rule(people=st.none() | st.integers(0, 3))
    def change_people(self, people: int | None) -> None:
        """The plan has room for other numbers of end users."""
        self.grant("end_user_limit", people)

    def grant(self, key: str, value: int | None) -> None:
        """Change the plan by what staff grants."""
        self.a_limit_begins()
        until = timezone.now() + timedelta(days=1)
        with scope(self.tenant.organization):
            entitlements.grant_override(
                actor=SYSTEM, key="feature:parked_writes", value=True, reason="A test", expires_at=until
            )
            entitlements.grant_override(
                actor=SYSTEM, key=key, value=value, reason="A test", expires_at=until, approver=SECOND
            )
        if key == "operation_limit":
            self.model.plan = value
        else:
            self.model.people = value
        reset_key_cache()

    @rule()
    def kill(self) -> None:
        """The process dies with what it holds; the next one knows nothing."""
        self.model.lost += self.process.held
        number = self.processes.index(self.process)
        self.processes[number] = Process()
        self.go_on_as(number)

    @rule()
    def give_back(self) -> None:
        """What lies idle goes back."""
        self.process.leases.give_back(idle=-1.0)

    def give_all_back(self) -> None:
        """What lies idle in any process goes back."""
        for one in self.processes:
            one.leases.give_back(idle=-1.0)
            assert one.held == 0

    @rule()
    def settle(self) -> None:
        """Time passes, and counters come to what the events say."""
        self.give_all_back()
        ship()
        for _ in range(2):
            with scope(self.tenant.organization):
                Counter.objects.update(marked_at=timezone.now() - timedelta(hours=1))
            counters.settle()
        with scope(self.tenant.organization):
            counter = Counter.objects.filter(allowance="operations").first()
        if counter is not None and self.model.hard is not None:
            assert counter.used == self.model.used
        self.model.lost = 0

    @precondition(lambda self: self.model.parked)
    @rule()
    def sweep(self) -> None:
        """Parked writes are applied as far as the caps let them."""
        self._apply()

    def _apply(self) -> None:
        """Each that was applied must have fitted then; of an end user in order."""
        applying.apply_due()
        with scope(self.tenant.organization):
            done = set(map(str, ParkedWrite.objects.filter(state="applied").values_list("pk", flat=True)))
            assert not ParkedWrite.objects.filter(state="failed").exists()
        for one in [one for one in self.model.parked if one.pk in done]:
            self.model.happens(one)
        self.model.parked = [one for one in self.model.parked if one.pk not in done]
        waiting = [one.user for one in self.model.parked]
        assert not waiting or self.model.hard is not None or self.model.people is not None, self.model

    @invariant()
    def nothing_is_lost(self) -> None:
        """What waits is there, in order."""
        with scope(self.tenant.organization):
            writes = ParkedWrite.objects.filter(state="parked").order_by("number")
            assert [str(one.pk) for one in writes] == [one.pk for one in self.model.parked]
            assert all(bytes(one.sealed_body) for one in writes)


@pytest.mark.usefixtures("transactional_db", "no_spools")
def test_whatever_happens_no_cap_is_passed_and_no_write_lost_or_doubled(monkeypatch: pytest.MonkeyPatch) -> None:
    few = settings(max_examples=9, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck))
    monkeypatch.setattr(Caps, "patch", monkeypatch, raising=False)
    run_state_machine_as_test(Caps, settings=few)
