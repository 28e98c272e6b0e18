"""Reads how far caps are used."""

from collections import Counter
from collections.abc import Collection
from datetime import datetime, timedelta
from uuid import UUID

from django.utils import timezone

from billing.metering.selectors import usage
from billing.plans import ALLOWANCE_METERS, Allowance
from billing.quotas import selectors
from billing.quotas.models import Cap
from billing.selectors.so_far import so_far
from tenancy.scope import current_organization_id


def used_of(caps: Collection[Cap]) -> dict[UUID, int]:
    """What each cap's subject has used in the cap's time. As many queries for many caps as for one."""
    found: dict[UUID, int] = {}
    flows = [cap for cap in caps if Allowance(cap.allowance) in selectors.FLOWS]
    for span in {cap.span for cap in flows}:
        sums = _sums(selectors.span_of(span).starts_at)
        for cap in flows:
            if cap.span == span:
                found[cap.pk] = sums[cap.allowance, cap.subject_id]
    if len(flows) < len(caps):
        now = {one.allowance.value: one.used or 0 for one in so_far().allowances}
        found |= {cap.pk: now[cap.allowance] for cap in caps if cap.pk not in found}
    return found


def _sums(since: datetime) -> Counter[tuple[str, UUID]]:
    """What the organization, each project and each key have used of each counted allowance since then."""
    sums: Counter[tuple[str, UUID]] = Counter()
    until = timezone.now() + timedelta(hours=1)
    for point in usage(since=since, until=until, grain="month", group_by=("meter", "project", "key")).points:
        for allowance in selectors.FLOWS:
            if point.group["meter"] in ALLOWANCE_METERS[allowance]:
                for subject in (current_organization_id(), point.group["project"], point.group["key"]):
                    sums[allowance.value, subject] += point.quantity
    return sums
