"""What data planes elsewhere report counts at a cap too, draws the counters down, and is said at once."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from billing.metering.meters import Meter
from billing.metering.services import Use
from billing.metering.services.reports import Report
from billing.plans import Allowance
from billing.quotas import counters, notices, reported, services
from billing.quotas.end_users import end_users
from billing.quotas.leases import leases
from billing.quotas.models import Counter, Notice
from billing.quotas.services import QuotaReached, admit
from tenancy.models import Organization
from tenancy.scope import scope
from tests.billing.quotas.conftest import limit, used
from tests.factories import Tenant
from tests.threads import at_once

pytestmark = pytest.mark.usefixtures("no_spools")
Counting = Callable[..., Use]
LONG_AGO = timedelta(days=33)


def report(tenant: Tenant, *reports: Report) -> reported.Reported:
    """Report as the tenant's key."""
    with scope(tenant.organization):
        return reported.take(project_id=tenant.project.pk, key_id=tenant.key.pk, reports=reports)


def told(name: str = "1", quantity: int = 1, *, meter: Meter = Meter.RECALL, **more: Any) -> Report:
    """A report of use that has just happened."""
    values: dict[str, Any] = {"source": "//plane", "name": name, "end_user": "", "occurred_at": timezone.now()} | more
    return Report(meter=meter, quantity=quantity, **values)


def cap(tenant: Tenant, amount: int, **values: Any) -> None:
    """Choose a cap on operations."""
    chosen: dict[str, Any] = {
        "level": "organization",
        "subject_id": tenant.organization.pk,
        "reaction": "stop",
    } | values
    with scope(tenant.organization):
        services.set_cap(actor=tenant.actor, allowance="operations", amount=amount, **chosen)


def test_what_is_reported_draws_on_the_counter_once(tenant: Tenant, use: Counting) -> None:
    limit(tenant, 100)
    admit(use(quantity=10))
    assert report(tenant, told("1", 30)).remaining[Allowance.OPERATIONS] == 60
    again = report(tenant, told("1", 30), told("2", 5), told("2", 7))
    assert [one.is_new for one in again.taken] == [False, True, False]
    assert (again.remaining[Allowance.OPERATIONS], used(tenant)) == (55, 45)


def test_it_counts_past_a_cap_and_the_next_local_write_sees_it(tenant: Tenant, use: Counting) -> None:
    limit(tenant, 100)
    admit(use())
    assert report(tenant, told(quantity=500)).remaining[Allowance.OPERATIONS] == 0
    assert used(tenant) == 501
    with pytest.raises(QuotaReached):
        admit(use())


def test_leases_that_are_out_are_asked_back_when_a_limit_is_reached(committed: Tenant, use: Counting) -> None:
    limit(committed, 100_000)
    admit(use(), stamp=1)
    assert used(committed) == 100, "a lease"
    with scope(committed.organization):
        before = Organization.objects.values_list("caps_version", flat=True).get()
    report(committed, told("1", 10))
    with scope(committed.organization):
        assert Organization.objects.values_list("caps_version", flat=True).get() == before
    report(committed, told("2", 100_000))
    with scope(committed.organization):
        assert Organization.objects.values_list("caps_version", flat=True).get() == before + 1, "other processes"
    with pytest.raises(QuotaReached):  # this one has forgotten its lease already
        admit(use(), stamp=1)


def test_a_counter_that_begins_with_it_counts_it_once(tenant: Tenant, use: Counting) -> None:
    limit(tenant, 100)
    report(tenant, told(quantity=30))
    admit(use())
    assert used(tenant) == 31


def test_two_who_report_beside_a_local_write_lose_nothing(committed: Tenant, use: Counting) -> None:
    limit(committed, 1_000)
    works = [lambda n=n: report(committed, told(str(n), 10), told("same", 7)) for n in range(4)]
    results = at_once(*works, *[lambda: admit(use())] * 4)
    assert not [one for one in results if isinstance(one, Exception)]
    leases.forget(committed.organization.pk)
    leases.give_back(idle=-1.0)
    assert used(committed) == 4 * 10 + 7 + 4


def test_a_day_s_counter_takes_what_happened_today(tenant: Tenant, use: Counting) -> None:
    cap(tenant, 100, span="day")
    cap(tenant, 90, level="project", subject_id=tenant.project.pk)
    yesterday = timezone.now() - timedelta(days=1)
    with scope(tenant.organization):
        start = timezone.now() - timedelta(days=5)
        Organization.objects.update(operation_limit=None, period_start=start, period_end=start + timedelta(days=30))
    rest = report(
        tenant, told("1", 20), told("2", 30, occurred_at=yesterday), told("3", 5, occurred_at=timezone.now() - LONG_AGO)
    )
    assert used(tenant, span="day") == 20
    assert used(tenant, tenant.project.pk) == 50, "of an earlier period it draws nothing"
    assert rest.remaining[Allowance.OPERATIONS] == 40, "the tightest"


def test_other_meters_and_what_is_unlimited_draw_on_nothing(tenant: Tenant) -> None:
    limit(tenant, None, document_limit=None, end_user_limit=None)
    done = report(tenant, told(meter=Meter.READ), told("2"))
    assert set(done.remaining.values()) == {None}
    with scope(tenant.organization):
        assert not Counter.objects.exists()


def test_end_users_of_elsewhere_are_counted_past_the_limit(tenant: Tenant, use: Counting) -> None:
    end_users.forget()
    limit(tenant, None, end_user_limit=2)
    done = report(tenant, *(told(name, end_user=name) for name in ("ann", "bob", "cid", "ann")))
    assert done.remaining[Allowance.END_USERS] == 0
    assert report(tenant, told("ann")).remaining[Allowance.END_USERS] == 0
    admit(use(end_user="cid"))
    with pytest.raises(QuotaReached):
        admit(use(end_user="eve"))
    with scope(tenant.organization):
        assert Counter.objects.get(allowance="end_users", span="period").used == 3


def test_a_crossed_percentage_is_said_at_once(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[str] = []
    monkeypatch.setattr("billing.quotas.reported.enqueue", sent.append)
    limit(tenant, 100)
    report(tenant, told("1", 49))
    assert not sent
    report(tenant, told("2", 1))
    report(tenant, told("3", 1))
    assert sent == ["quotas.say_crossed"], "once, and not for each report"
    notices.say_crossed()
    with scope(tenant.organization):
        assert [one.percent for one in Notice.objects.all()] == [50]


def test_settling_leaves_what_was_reported(tenant: Tenant, use: Counting) -> None:
    limit(tenant, 1_000)
    admit(use(quantity=3))
    with scope(tenant.organization):
        Counter.objects.update(marked_at=timezone.now() - timedelta(hours=1))
    report(tenant, told("1", 40))
    counters.settle()
    assert used(tenant) == 43
    with scope(tenant.organization):
        Counter.objects.update(marked_at=timezone.now() - timedelta(hours=1))
    counters.settle()
    assert used(tenant) == 40, "the three never happened"
