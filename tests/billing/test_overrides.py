"""What can be granted beside a plan, and when a second person must agree."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.overrides import (
    FEATURE_KEYS,
    INCLUDED_KEYS,
    KEYS,
    LIMIT_KEYS,
    OVERAGE_KEYS,
    PRICE_KEYS,
    clean,
    needs_approval,
)
from billing.plans import FREE, PLANS, Feature, current
from tenancy.errors import Invalid
from tenancy.models import Organization


@pytest.mark.parametrize("key", ["", "name", "access", "signing_key", "feature:gold", "included:", "period_start"])
def test_nothing_but_limits_features_and_rates_can_be_granted(key: str) -> None:
    with pytest.raises(Invalid, match="choose one of") as refusal:
        clean(key, 1)
    assert refusal.value.field == "key"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("project_limit", -1),
        ("project_limit", None),
        ("project_limit", 2**31),
        ("project_limit", True),
        ("project_limit", "5"),
        ("project_limit", 5.5),
        ("operation_limit", 2**53),
        ("included:seats", None),
        ("feature:mcp", 1),
        ("feature:mcp", None),
        ("overage:operations", "-0.1"),
        ("overage:operations", "NaN"),
        ("overage:operations", "Infinity"),
        ("overage:operations", "cheap"),
        ("overage:operations", "0.0000000000001"),
        ("overage:operations", 10**6),
    ],
)
def test_a_wrong_value_is_refused(key: str, value: Any) -> None:
    with pytest.raises(Invalid) as refusal:
        clean(key, value)
    assert refusal.value.field == "value"


@pytest.mark.parametrize(
    ("key", "value", "kept"),
    [
        ("project_limit", 0, 0),
        ("operation_limit", None, None),
        ("operation_limit", 2**53 - 1, 2**53 - 1),
        ("feature:data_planes", True, True),
        ("overage:operations", "0.0100", "0.01"),
        ("overage:operations", 0.008, "0.008"),
        ("overage:seats", 900, "900"),
        ("overage:stored_bytes", "0.000000000001", "0.000000000001"),
        ("overage:seats", None, None),
    ],
)
def test_a_value_is_kept_in_one_way(key: str, value: Any, kept: Any) -> None:
    assert clean(key, value) == kept
    assert clean(key, clean(key, value)) == kept


def test_every_limit_is_a_column_of_the_organization() -> None:
    columns = {field.attname for field in Organization._meta.concrete_fields}
    assert set(LIMIT_KEYS) <= columns
    assert set(LIMIT_KEYS) == {name for name in columns if name.endswith(("_limit", "_per_minute"))}


@pytest.mark.parametrize(
    ("plan", "key", "value", "needs"),
    [
        (FREE, "operation_limit", 125_000, False),
        (FREE, "operation_limit", 125_001, True),
        (FREE, "operation_limit", None, True),
        ("pro", "operation_limit", None, False),  # it has none already
        ("pro", "operation_limit", 10, False),
        ("pro", "member_limit", 51, True),
        ("pro", "included:operations", 1_250_001, True),
        ("pro", "overage:operations", "0.0023", True),
        ("pro", "overage:operations", "0.0024", False),
        ("pro", "overage:operations", None, False),
        (FREE, "overage:operations", "0.0001", False),
        (FREE, "feature:data_planes", True, False),
    ],
)
def test_a_generous_value_needs_a_second_person(plan: str, key: str, value: Any, needs: bool) -> None:
    assert needs_approval(current(plan), key, value) == needs


@given(st.sampled_from(sorted(KEYS)), st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9))
def test_whatever_is_granted_can_be_weighed_against_every_plan(key: str, value: Any) -> None:
    try:
        kept = clean(key, value)
    except Invalid:
        return
    assert all(needs_approval(plan, key, kept) in {True, False} for plan in PLANS)
    if key in OVERAGE_KEYS and kept is not None:
        assert Decimal(kept) >= 0


def test_no_key_means_two_things() -> None:
    kinds = [LIMIT_KEYS, FEATURE_KEYS, INCLUDED_KEYS, OVERAGE_KEYS, PRICE_KEYS]
    assert len(KEYS) == len({key for kind in kinds for key in kind})
    assert set(FEATURE_KEYS.values()) == set(Feature)
