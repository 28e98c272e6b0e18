"""What there is, and what a plan includes, are seen every ten minutes: alerts follow, and stored bytes stop writes."""

from collections.abc import Callable
from uuid import UUID

import pytest
from django.utils import timezone

from billing.metering.meters import Meter
from billing.metering.models import UsageHour
from billing.metering.services import Use
from billing.quotas import counters, notices, services
from billing.quotas.models import Counter, Notice
from billing.quotas.services import QuotaReached, admit
from capsule_cloud.memory.models import Capsule
from capsule_cloud.memory.services import skills
from tenancy.errors import Invalid
from tenancy.scope import scope
from tests.billing.quotas.conftest import limit
from tests.factories import Tenant

Counting = Callable[..., Use]


def seen(tenant: Tenant) -> dict[str, tuple[int, int | None]]:
    """By allowance: what a sweep saw, and of how much."""
    counters.sample()
    with scope(tenant.organization):
        return {one.allowance: (one.used, one.included) for one in Counter.objects.filter(span="sampled")}


def store(tenant: Tenant, meter: Meter, quantity: int, project_id: UUID | None = None) -> None:
    """Store the hourly sum of a meter."""
    hour = timezone.now().replace(minute=0, second=0, microsecond=0)
    with scope(tenant.organization):
        UsageHour.objects.create(
            project_id=project_id or tenant.project.pk, meter=meter, hour=hour, quantity=quantity, events=1
        )


def remember(tenant: Tenant) -> int:
    """Write a capsule; how many bytes there are now."""
    with scope(tenant.organization):
        skills.create_skill(
            project_id=tenant.project.pk,
            user_id="dana",
            description="Steep the tea for three minutes.",
            actor=tenant.actor,
        )
        return sum(Capsule.objects.values_list("size", flat=True))


def test_what_is_not_in_use_is_not_looked_at(tenant: Tenant) -> None:
    assert seen(tenant) == {}


def test_an_included_amount_of_which_more_can_be_bought_is_watched(tenant: Tenant) -> None:
    limit(tenant, None, document_limit=None)
    store(tenant, Meter.RECALL, 20_001)
    assert seen(tenant)["operations"] == (20_001, 25_000)
    notices.say_crossed()
    with scope(tenant.organization):
        sentences = [notice.sentence for notice in Notice.objects.order_by("percent")]
    assert sentences == [
        f"{percent} % of the 25,000 operations of your organization are used this billing period"
        for percent in (50, 80)
    ]


def test_what_leases_count_is_not_counted_twice(tenant: Tenant, use: Counting) -> None:
    admit(use(quantity=20_000))
    store(tenant, Meter.RECALL, 20_000)
    assert "operations" not in seen(tenant)


def test_stored_bytes_stop_writes_until_some_are_deleted(tenant: Tenant, use: Counting) -> None:
    size = remember(tenant)
    limit(tenant, 100, stored_byte_limit=size)
    store(tenant, Meter.RECALL, 1)
    admit(use())
    assert seen(tenant)["stored_bytes"] == (size, size)
    with pytest.raises(QuotaReached, match=f"The organization stores its {size:,} bytes: nothing was written"):
        admit(use())
    admit(use(Meter.RECALL))
    with scope(tenant.organization):
        Capsule.objects.all().delete()
    assert seen(tenant)["stored_bytes"] == (0, size)
    admit(use())


def test_stored_bytes_have_a_cap_of_one_s_own(tenant: Tenant, use: Counting) -> None:
    size = remember(tenant)
    chosen = {"actor": tenant.actor, "allowance": "stored_bytes", "amount": size, "reaction": "stop"}
    with scope(tenant.organization):
        services.set_cap(level="organization", subject_id=tenant.organization.pk, **chosen)  # type: ignore[arg-type]
        for wrong in (
            {"level": "project", "subject_id": tenant.project.pk},
            {"level": "organization", "subject_id": tenant.organization.pk, "span": "day"},
        ):
            with pytest.raises(Invalid):
                services.set_cap(**wrong, **chosen)  # type: ignore[arg-type]
    store(tenant, Meter.RECALL, 1)
    seen(tenant)
    with pytest.raises(QuotaReached):
        admit(use())
    notices.say_crossed()
    with scope(tenant.organization):
        assert Notice.objects.filter(what="stored_bytes", limit=size).count() == 3


def test_last_night_s_sample_is_enough_far_from_the_limit(tenant: Tenant, stranger: Tenant) -> None:
    store(tenant, Meter.STORED_BYTES, 3_000)
    store(tenant, Meter.STORED_BYTES, 4_000, stranger.project.pk)
    store(tenant, Meter.END_USER, 70)
    assert seen(tenant) == {"stored_bytes": (7_000, 10**9), "end_users": (70, 1_000)}
