"""Caps of the organization, its projects and keys change in any order, under the hands of several processes."""

import time
from collections import Counter as Sums
from dataclasses import dataclass
from types import SimpleNamespace
from typing import ClassVar
from uuid import UUID

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from billing.metering.meters import Meter
from billing.metering.services import Use, record
from billing.plans import Allowance
from billing.quotas import services
from billing.quotas.leases import Leases, Subject
from billing.quotas.models import Cap, Counter
from billing.quotas.services import QuotaReached, Receipt, admit, catch_up, undo
from tenancy.models import Organization
from tenancy.roles import Role
from tenancy.scope import scope
from tenancy.services import keys, projects
from tests.factories import make_tenant

PROCESSES = 3
KEYS = st.integers(0, 2)
SUBJECTS = st.integers(0, 5)  # the organization, two projects, three keys
MORE = st.integers(-2, 6) | st.sampled_from([200, 3_000])  # than has been used: where a limit matters
SPANS = st.sampled_from(["period", "period", "day"])


@dataclass(frozen=True, slots=True)
class Underway:
    """A write that was admitted, and may fail yet."""

    key: int
    use: Use
    receipt: Receipt
    leases: Leases


def _units(subject: Subject, units: int) -> dict[UUID, int]:
    assert subject.key_id is not None
    return dict.fromkeys((subject.organization_id, subject.project_id, subject.key_id), units)


class Levels(RuleBasedStateMachine):
    """Does what customers and processes do, and counts on its fingers."""

    patch: ClassVar[pytest.MonkeyPatch]

    def __init__(self) -> None:
        super().__init__()
        self.tenant, self.now = make_tenant(), time.monotonic()
        clock = SimpleNamespace(monotonic=lambda: self.now, time=time.time)
        self.patch.setattr("billing.quotas.leases.time", clock)
        with scope(self.tenant.organization):
            Organization.objects.update(operation_limit=None, features=["mcp", "parked_writes"])
            second = projects.create(actor=self.tenant.actor, name="Second")
            maker = keys.Maker(self.tenant.actor, user=self.tenant.owner, role=Role.OWNER)
            of = [self.tenant.project, second]
            made = [
                keys.create(maker=maker, project_id=of[n // 2].pk, name=str(n), scopes=["memory:write"])
                for n in range(3)
            ]
        self.keys = [(one.key.project_id, one.key.pk) for one in made]
        organization = self.tenant.organization.pk
        self.subjects = [organization, *[one.pk for one in of], *[key for _, key in self.keys]]
        self.plan: int | None = None
        self.caps: dict[tuple[UUID, str], tuple[int, str]] = {}
        self.used, self.lost = Sums[UUID](), Sums[UUID]()
        self.underway: list[Underway] = []
        self.processes = [Leases() for _ in range(PROCESSES)]
        self.go_on_as(0)

    def teardown(self) -> None:
        """Everything that is held goes back, and counters say what was used."""
        self.end_all()
        for one in self.processes:
            one.give_back(idle=-1.0)
        with scope(self.tenant.organization):
            found = {(one.subject_id, one.span): one.used for one in Counter.objects.all()}
        for subject_id, span, _, _ in self.limits(range(6)):
            if (subject_id, span) in found:
                assert 0 <= found[subject_id, span] - self.used[subject_id] <= self.lost[subject_id]

    def of(self, key: int) -> list[UUID]:
        """Whose use a key's is."""
        return [self.subjects[0], *self.keys[key]]

    def limits(self, subjects: range | list[UUID]) -> list[tuple[UUID, str, int, str]]:
        """The plan's limit and the caps of these."""
        mine = self.subjects if isinstance(subjects, range) else subjects
        found = [(one, span, *cap) for (one, span), cap in self.caps.items() if one in mine]
        return found if self.plan is None else [(self.subjects[0], "period", self.plan, "stop"), *found]

    def fits(self, key: int, units: int, held: Sums[UUID]) -> bool:
        """Whether so much more is within every hard limit, beside what is held."""
        return all(
            self.used[subject_id] + held[subject_id] + units <= amount
            for subject_id, _, amount, reaction in self.limits(self.of(key))
            if reaction in {"stop", "park"}
        )

    def held(self, key: int) -> Sums[UUID]:
        """What is counted and nobody has used, but for what this process holds for the key: that goes back first."""
        sums = Sums(self.lost)
        for leases in self.processes:
            for subject, lease in [*leases._held.items(), *leases._dropped]:
                if leases is not self.leases or subject.key_id != self.keys[key][1]:
                    sums.update(_units(subject, lease.held))
        return sums

    def use(self, key: int, meter: Meter, units: int) -> Use:
        """A use of the key."""
        project_id, key_id = self.keys[key]
        return Use(self.tenant.organization.pk, project_id, key_id, meter, units)

    def count(self, key: int, units: int) -> None:
        """So much has been used, or less if it is negative."""
        for one in self.of(key):
            self.used[one] += units

    @rule(number=st.integers(0, PROCESSES - 1))
    def go_on_as(self, number: int) -> None:
        """Another process answers."""
        self.leases = self.processes[number]
        self.patch.setattr(services, "leases", self.leases)

    @rule(seconds=st.sampled_from([0.2, 1, 100]))
    def wait(self, seconds: float) -> None:
        """Time passes for leases; within two seconds every process looks for what lies idle."""
        self.now += seconds
        for one in self.processes if seconds > 2 else []:
            one.give_back()

    @rule(key=KEYS, units=st.integers(1, 3), goes_on=st.booleans())
    def write(self, key: int, units: int, *, goes_on: bool) -> None:
        """A write, at once or underway for a while."""
        use = self.use(key, Meter.INGEST, units)
        try:
            receipt = self.admitted(use, key)
        except QuotaReached:
            assert not self.fits(key, units, self.held(key))
            return
        assert self.fits(key, units, Sums())
        self.count(key, units)
        self.underway.append(Underway(key, use, receipt, self.leases))
        if not goes_on:
            self.end(fails=False, which=-1)

    def admitted(self, use: Use, key: int) -> Receipt:
        """The receipt. A refusal is remembered for half a second."""
        try:
            return admit(use)
        except QuotaReached:
            if not self.fits(key, use.quantity, self.held(key)):
                raise
        self.now += 0.5
        return admit(use)

    @precondition(lambda self: self.underway)
    @rule(fails=st.booleans(), which=st.sampled_from([0, -1]))
    def end(self, *, fails: bool, which: int) -> None:
        """A write ends; one that fails was nothing."""
        one = self.underway.pop(which)
        if fails:
            with self.patch.context() as patch:
                patch.setattr(services, "leases", one.leases)
                undo(one.receipt)
            self.count(one.key, -one.use.quantity)
        else:
            with scope(self.tenant.organization):
                record(one.use)

    def end_all(self) -> None:
        """All that is underway has happened."""
        while self.underway:
            self.end(fails=False, which=-1)

    @rule(key=KEYS, times=st.integers(1, 6))
    def read(self, key: int, times: int) -> None:
        """Reads go on at every cap, and count."""
        for _ in range(times):
            use = self.use(key, Meter.RECALL, 1)
            admit(use)
            with scope(self.tenant.organization):
                record(use)
        self.count(key, times)

    @rule(
        number=SUBJECTS,
        span=SPANS,
        more=MORE,
        reaction=st.sampled_from(["stop", "stop", "park", "warn", "throttle"]),
    )
    def set_cap(self, number: int, span: str, more: int, reaction: str) -> None:
        """The customer chooses a cap, at most the plan's."""
        subject_id = self.subjects[number]
        amount = max(0, self.used[subject_id] + more)
        if self.plan is not None and amount > self.plan:
            return
        if (subject_id, span) not in self.caps:
            self.end_all()
        with scope(self.tenant.organization):
            services.set_cap(
                actor=self.tenant.actor,
                allowance="operations",
                level=["organization", "project", "project", "key", "key", "key"][number],
                subject_id=subject_id,
                amount=amount,
                reaction=reaction,
                span=span,
            )
        self.caps[subject_id, span] = amount, reaction

    @precondition(lambda self: self.caps)
    @rule(which=st.integers(0, 11))
    def clear_cap(self, which: int) -> None:
        """The customer takes one away."""
        subject_id, span = list(self.caps)[which % len(self.caps)]
        with scope(self.tenant.organization):
            cap = Cap.objects.get(subject_id=subject_id, span=span)
            services.clear_cap(actor=self.tenant.actor, cap_id=cap.pk)
        del self.caps[subject_id, span]

    @rule(more=st.none() | MORE)
    def change_plan(self, more: int | None) -> None:
        """The plan has another limit, or none."""
        amount = None if more is None else max(0, self.used[self.subjects[0]] + more)
        if self.plan is None:
            self.end_all()
        with scope(self.tenant.organization):
            Organization.objects.update(operation_limit=amount)
            if self.plan is None and amount is not None:
                catch_up(Allowance.OPERATIONS, level="organization", subject_id=self.subjects[0])
        self.plan = amount

    @rule()
    def kill(self) -> None:
        """The process dies with what it holds."""
        for subject, lease in [*self.leases._held.items(), *self.leases._dropped]:
            self.lost.update(_units(subject, lease.held))
        for one in [one for one in self.underway if one.leases is self.leases]:
            self.underway.remove(one)
            self.count(one.key, -one.use.quantity)
            self.lost.update(dict.fromkeys(self.of(one.key), one.use.quantity))
        number = self.processes.index(self.leases)
        self.processes[number] = Leases()
        self.go_on_as(number)

    @rule()
    def give_back(self) -> None:
        """What lies idle goes back."""
        self.leases.give_back(idle=-1.0)


@pytest.mark.usefixtures("transactional_db")
def test_whatever_changes_in_whichever_order_no_level_s_cap_is_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    few = settings(max_examples=25, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck))
    monkeypatch.setattr(Levels, "patch", monkeypatch, raising=False)
    run_state_machine_as_test(Levels, settings=few)
