"""Whatever happens in whichever order: no cap is passed, no parked write lost, and nothing is charged twice."""

from dataclasses import dataclass, field
from datetime import timedelta

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
from billing.quotas.end_users import end_users
from billing.quotas.leases import leases
from billing.quotas.models import Counter, ParkedWrite
from billing.services import entitlements
from capsule_cloud.memory.models import Turn
from tenancy.access import reset_key_cache
from tenancy.audit.services import SYSTEM, Actor
from tenancy.models import Organization
from tenancy.scope import scope
from tests.billing.quotas.test_parking import Api
from tests.factories import make_tenant

USERS = st.sampled_from(["ann", "bob", "cid"])
AMOUNTS = st.integers(0, 12)
COUNTED = ["ingest", "recall", "seal", "import"]
SECOND = Actor("staff", "2", "second@example.com")


@dataclass(slots=True)
class Parked:
    """A write that waits."""

    pk: str
    user: str
    words: list[str]


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
    parked: list[Parked] = field(default_factory=list)
    said: dict[str, list[str]] = field(default_factory=dict)  # by end user, in order

    @property
    def hard(self) -> int | None:
        """The limit that stops or parks."""
        limits = [self.plan, self.cap if self.reaction in {"stop", "park"} else None]
        return min((one for one in limits if one is not None), default=None)

    def fits(self, units: int) -> bool:
        """Whether so much more is within the limit."""
        return self.hard is None or self.used + units <= self.hard

    def has_room(self, user: str) -> bool:
        """Whether the end user is in, or may come in."""
        return self.people is None or user in self.active or len(self.active) < self.people

    def happens(self, user: str, words: list[str]) -> None:
        """A write has happened."""
        self.used += len(words)
        self.active.add(user)
        self.said.setdefault(user, []).extend(words)


class Caps(RuleBasedStateMachine):
    """Does what customers, plans and processes do."""

    def __init__(self) -> None:
        super().__init__()
        self.tenant, self.model, self.number = make_tenant(), Model(), 0
        self.api = Api(self.tenant)
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
            for user, words in self.model.said.items():
                said = Turn.objects.filter(session__external_id=user, role="user").order_by("number")
                assert [turn.content for turn in said] == words
        leases.forget(self.tenant.organization.pk)
        leases.give_back(idle=-1.0)

    @rule(user=USERS, units=st.integers(1, 3), is_bad=st.booleans())
    def write(self, user: str, units: int, *, is_bad: bool) -> None:
        """A turn or several, of which some would be refused whatever the caps."""
        words = [f"word {self.number + n}" for n in range(units)]
        self.number += units
        pairs = [{"user_message": word, "assistant_response": "" if is_bad else "Noted."} for word in words]
        answer = self.api.http.post(
            f"/api/v1/sessions/{user}/ingest", {"turns": pairs, "user_id": user}, content_type="application/json"
        )
        if is_bad:
            assert answer.status_code == 422
        elif answer.status_code == 200:
            assert self.model.fits(units), (self.model, units)
            assert self.model.has_room(user), self.model
            assert user not in {one.user for one in self.model.parked}, "it may not overtake"
            self.model.happens(user, words)
        elif answer.status_code == 202:
            assert self.model.parked or self.model.reaction == "park"
            self.model.parked.append(Parked(answer.json()["parked_id"], user, words))
        else:
            assert answer.status_code == 402, answer.content
            is_near = self.model.hard is not None and self.model.used + units + self.model.lost > self.model.hard
            assert is_near or not self.model.has_room(user), self.model

    @rule()
    def recall(self) -> None:
        """A read goes on at every cap, and counts."""
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

    @rule(amount=AMOUNTS, reaction=st.sampled_from(["stop", "park", "warn"]))
    def set_cap(self, amount: int, reaction: str) -> None:
        """The customer chooses a cap, at most the plan's."""
        if self.model.plan is not None and amount > self.model.plan:
            return
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

    @rule()
    def clear_cap(self) -> None:
        """The customer takes it away."""
        with scope(self.tenant.organization):
            for cap in selectors.caps():
                services.clear_cap(actor=self.tenant.actor, cap_id=cap.pk)
        self.model.cap, self.model.reaction = None, ""
        reset_key_cache()

    @rule(amount=st.none() | st.integers(0, 12))
    def change_plan(self, amount: int | None) -> None:
        """The plan has another limit, or none."""
        self.grant("operation_limit", amount)

    @rule(people=st.none() | st.integers(0, 3))
    def change_people(self, people: int | None) -> None:
        """The plan has room for other numbers of end users."""
        self.grant("end_user_limit", people)

    def grant(self, key: str, value: int | None) -> None:
        """Change the plan by what staff grants."""
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
        mine = [one for one in leases._held if one.organization_id == self.tenant.organization.pk]
        self.model.lost += sum(max(0, leases._held.pop(one).tokens) for one in mine)
        self.model.lost += sum(max(0, lease.tokens) for _, lease in leases._dropped)
        leases._dropped.clear()
        end_users.forget()

    @rule()
    def give_back(self) -> None:
        """What lies idle goes back."""
        leases.give_back(idle=-1.0)

    @rule()
    def settle(self) -> None:
        """Time passes, and counters come to what the events say."""
        leases.give_back(idle=-1.0)
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
            assert self.model.fits(len(one.words)), self.model
            assert self.model.has_room(one.user), self.model
            self.model.happens(one.user, one.words)
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
def test_whatever_happens_no_cap_is_passed_and_no_write_lost_or_doubled() -> None:
    few = settings(max_examples=15, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck))
    run_state_machine_as_test(Caps, settings=few)
