"""The catalogue is complete, sensible, and what was once sold stays as it was."""

import hashlib
import itertools
import json
from decimal import Decimal

import pytest

from billing.metering.meters import Meter
from billing.money import DECIMALS
from billing.plans import (
    ALLOWANCE_METERS,
    ALLOWANCE_NAMES,
    FEATURE_NAMES,
    FREE,
    PLANS,
    Allowance,
    Feature,
    Interval,
    Plan,
    UnknownPlan,
    current,
    plan,
    sold,
)
from tenancy.models import Organization
from tenancy.scope import scope
from tests.factories import Tenant

# What was published, version by version; a line here is never changed
PUBLISHED = {
    "free-v1": "3c4a5dbfeb16cfb6",
    "pro-v1": "b16d70a76ddc29bc",
    "scale-v1": "239e250d6fe25d6d",
    "enterprise-v1": "b17e28f551b597f1",
}


def fingerprint(one: Plan) -> str:
    """Sixteen digits that change with whatever a customer could notice of a plan."""
    words = [one.key, one.version, one.name, one.currency, one.monthly, one.yearly, one.seat, one.trial_days]
    words += [sorted(one.features), sorted(one.limits.items())]
    words += [[name, of.quantity, str(of.overage)] for name, of in sorted(one.allowances.items())]
    return hashlib.sha256(json.dumps(words).encode()).hexdigest()[:16]


each_plan = pytest.mark.parametrize("one", PLANS, ids=lambda one: f"{one.key}-v{one.version}")


@each_plan
def test_a_plan_says_something_about_every_allowance(one: Plan) -> None:
    assert set(one.allowances) == set(Allowance)
    assert all(included.quantity > 0 for included in one.allowances.values())


@each_plan
def test_a_rate_has_no_more_decimals_than_an_invoice_can_carry(one: Plan) -> None:
    for included in one.allowances.values():
        if included.overage is not None:
            assert 0 < included.overage == round(included.overage, DECIMALS)


@each_plan
def test_a_seat_costs_the_same_wherever_it_is_read(one: Plan) -> None:
    seats = one.allowances[Allowance.SEATS]
    assert (seats.overage or 0) == one.seat
    assert one.limits["member_limit"] == seats.quantity


@each_plan
def test_a_year_costs_ten_months(one: Plan) -> None:
    assert one.yearly == 10 * one.monthly


def test_a_larger_plan_is_larger_in_everything_and_cheaper_for_each_more() -> None:
    for small, large in itertools.pairwise(sold()):
        assert small.monthly < large.monthly
        assert small.features <= large.features
        assert all(small.limits[name] <= large.limits[name] for name in small.limits)
        for allowance in Allowance:
            less, more = small.allowances[allowance], large.allowances[allowance]
            assert less.quantity < more.quantity or (allowance is Allowance.SEATS and less.quantity == more.quantity)
            assert less.overage is None or Decimal(0) < (more.overage or 0) <= less.overage


def test_what_a_plan_includes_is_worth_more_than_its_price_as_overage_of_the_one_below() -> None:
    for small, large in itertools.pairwise(sold()[1:]):
        more = large.allowances[Allowance.OPERATIONS].quantity - small.allowances[Allowance.OPERATIONS].quantity
        rate = small.allowances[Allowance.OPERATIONS].overage or Decimal(0)
        assert more * rate > large.monthly - small.monthly, f"Nobody would go from {small.key} to {large.key}."


def test_versions_of_a_plan_count_from_one() -> None:
    for key in {one.key for one in PLANS}:
        versions = [one.version for one in PLANS if one.key == key]
        assert versions == list(range(1, len(versions) + 1))
        assert current(key) == plan(key, versions[-1])
    assert [one.key for one in sold()] == ["free", "pro", "scale", "enterprise"]


def test_a_version_that_is_sold_never_changes() -> None:
    found = {f"{one.key}-v{one.version}": fingerprint(one) for one in PLANS}
    assert found == PUBLISHED, "Add a new version of the plan, and its fingerprint here: customers keep theirs."


def test_an_unknown_plan_or_version_is_refused() -> None:
    with pytest.raises(UnknownPlan):
        current("gold")
    with pytest.raises(UnknownPlan):
        plan("pro", 99)


def test_every_price_has_a_name_of_its_own() -> None:
    names = [price.lookup_key for one in PLANS for price in one.prices]
    assert len(names) == len(set(names))
    assert {"pro-v1-monthly", "pro-v1-yearly", "pro-v1-seat", "pro-v1-operations"} <= set(names)
    assert current(FREE).prices == []


def test_a_price_of_use_begins_above_what_is_included() -> None:
    [price] = [one for one in current("pro").prices if one.allowance is Allowance.OPERATIONS]
    assert (price.included, price.unit, price.interval) == (250_000, Decimal("0.012"), Interval.MONTHLY)


def test_a_meter_counts_towards_one_allowance_at_most() -> None:
    counted = [meter for meters in ALLOWANCE_METERS.values() for meter in meters]
    assert len(counted) == len(set(counted))
    assert ALLOWANCE_METERS[Allowance.OPERATIONS] == {Meter.INGEST, Meter.RECALL, Meter.SEAL, Meter.IMPORT}
    assert set(ALLOWANCE_METERS) == set(ALLOWANCE_NAMES) == set(Allowance)


def test_every_feature_has_a_name_for_people_and_a_plan() -> None:
    assert set(FEATURE_NAMES) == set(Feature)
    assert current("enterprise").features == set(Feature)


def test_a_new_organization_has_exactly_the_free_plan(tenant: Tenant) -> None:
    with scope(tenant.organization):
        organization = Organization.objects.get()
    columns = current(FREE).columns
    assert {name: getattr(organization, name) for name in columns} == columns
    assert (organization.access, organization.period_start, organization.period_end) == ("full", None, None)


def test_where_more_can_be_bought_there_is_no_limit_in_the_column() -> None:
    assert current("pro").columns["operation_limit"] is None
    assert current(FREE).columns["operation_limit"] == 25_000
    assert current(FREE).columns["features"] == ["mcp"]
