"""A day is sampled once for everybody: what is stored, who was active in the period so far, who has a seat."""

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from django.utils import timezone

from billing.metering import selectors, tasks
from billing.metering.meters import Meter
from billing.metering.models import UsageEvent
from billing.metering.services import gauges
from tenancy.models import Organization, Project
from tenancy.roles import Role
from tenancy.scope import scope
from tests.capsule_cloud.memory.capsules_for_tests import memory, store
from tests.factories import Tenant, add_member

NOWHERE = UUID(int=0)
TODAY = timezone.now().astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
YESTERDAY = TODAY - timedelta(days=1)


@pytest.fixture(autouse=True)
def _are_older_than_a_day(tenant: Tenant) -> None:
    """Organizations that were there yesterday."""
    with scope(tenant.organization):
        Organization.objects.update(created_at=TODAY - timedelta(days=60))


def samples(tenant: Tenant) -> Counter[tuple[str, UUID]]:
    """The samples of yesterday, by meter and project."""
    found: Counter[tuple[str, UUID]] = Counter()
    with scope(tenant.organization):
        gauged = UsageEvent.objects.filter(meter__in=["stored_bytes", "active_end_user", "seat"])
        for event in gauged:
            assert event.occurred_at == TODAY - timedelta(hours=1)
            assert (event.meter, event.project_id) not in found
            found[event.meter, event.project_id] = event.quantity
    return found


def used(tenant: Tenant, at: datetime, end_user: str, project: UUID | None = None) -> None:
    """Somebody was active then."""
    with scope(tenant.organization):
        UsageEvent.objects.create(
            project_id=project or tenant.project.pk, meter=Meter.RECALL, quantity=1, end_user=end_user, occurred_at=at
        )


def test_stored_bytes_are_the_documents_of_each_project(tenant: Tenant) -> None:
    with scope(tenant.organization):
        empty = Project.objects.create(name="Empty", slug="empty")
    store(tenant, memory("tea"), memory("milk"))
    gauges.sample_gauges()
    found = samples(tenant)
    assert found["stored_bytes", tenant.project.pk] > 200
    assert found["stored_bytes", empty.pk] == 0
    assert ("stored_bytes", empty.pk) in found, "an average must know that nothing was there"
    with scope(tenant.organization):
        total = selectors.totals(YESTERDAY, TODAY).meters[Meter.STORED_BYTES]
    assert total == found["stored_bytes", tenant.project.pk]


def test_a_day_is_sampled_once(tenant: Tenant) -> None:
    tasks.sample_gauges(anything="later")
    before = samples(tenant)
    add_member(tenant, Role.MEMBER)
    gauges.sample_gauges()
    assert samples(tenant) == before
    assert before["seat", NOWHERE] == 1


def test_seats_are_members(tenant: Tenant) -> None:
    add_member(tenant, Role.MEMBER)
    add_member(tenant, Role.VIEWER)
    gauges.sample_gauges()
    assert samples(tenant)["seat", NOWHERE] == 3


def in_the_month(tenant: Tenant) -> datetime:
    """No period of its own: the month that yesterday is in."""
    return YESTERDAY.replace(day=1)


def in_its_period(tenant: Tenant) -> datetime:
    """A period that began three days ago."""
    since = TODAY - timedelta(days=3, hours=5)
    with scope(tenant.organization):
        Organization.objects.update(period_start=since, period_end=since + timedelta(days=30))
    return since


def in_the_period_before(tenant: Tenant) -> datetime:
    """A period that began today: yesterday belongs to the one before, a month long."""
    with scope(tenant.organization):
        Organization.objects.update(period_start=TODAY, period_end=TODAY + timedelta(days=30))
    month = TODAY.replace(day=1) - timedelta(days=1)
    day = min(TODAY.day, month.day)
    return month.replace(day=day)


@pytest.mark.parametrize("begin", [in_the_month, in_its_period, in_the_period_before])
def test_end_users_count_once_in_their_period_and_project(tenant: Tenant, begin: Callable[[Tenant], datetime]) -> None:
    since = begin(tenant)
    with scope(tenant.organization):
        other = Project.objects.create(name="Other", slug="other")
    for at, end_user in (
        (since, "first"),
        (TODAY - timedelta(seconds=1), "last"),
        (TODAY - timedelta(hours=2), "last"),
        (TODAY - timedelta(hours=2), ""),
        (since - timedelta(seconds=1), "before"),
        (TODAY, "after"),
    ):
        used(tenant, at, end_user)
    used(tenant, TODAY - timedelta(hours=1), "last", other.pk)
    gauges.sample_gauges()
    found = samples(tenant)
    assert found["active_end_user", tenant.project.pk] == 2
    assert found["active_end_user", other.pk] == 1


def test_a_closed_organization_is_not_sampled(tenant: Tenant) -> None:
    with scope(tenant.organization):
        Organization.objects.update(closed_at=timezone.now())
    gauges.sample_gauges()
    assert not samples(tenant)
