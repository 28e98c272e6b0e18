"""What may be granted beside a plan: which values there are, what they may be, and when a second person must agree."""

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal, InvalidOperation
from typing import Any

from billing.money import DECIMALS
from billing.plans import LIMIT_COLUMNS, Allowance, Feature, Included, Plan, current, sold
from tenancy.errors import Invalid

LARGEST = 2**53 - 1  # every reader of JSON can hold it
LARGEST_COLUMN = 2**31 - 1
GENEROUS = 5  # times what the plan has: more needs a second person
NULLABLE = frozenset(LIMIT_COLUMNS.values())
_PLAIN = ("project_limit", "member_limit", "key_limit", "requests_per_minute")
LIMIT_KEYS = (*_PLAIN, *LIMIT_COLUMNS.values())
FEATURE_KEYS = {f"feature:{one}": one for one in Feature}
INCLUDED_KEYS = {f"included:{one}": one for one in Allowance}
OVERAGE_KEYS = {f"overage:{one}": one for one in Allowance}
# Of one plan each: who moves to another pays what that one costs
PRICES = ("monthly", "yearly", "seat")
PRICE_KEYS = {f"price:{one.key}:{what}": (one.key, what) for one in sold() if one.monthly for what in PRICES}
KEYS = (*LIMIT_KEYS, *FEATURE_KEYS, *INCLUDED_KEYS, *OVERAGE_KEYS, *PRICE_KEYS)


def clean(key: str, value: Any) -> Any:
    """The value as it is stored: a whole number, true or false, a rate as text, or None. Raises Invalid.

    A price is in whole minor units for a month, for a year, or for a seat a month.
    """
    if key in FEATURE_KEYS:
        return _flag(value)
    if key in OVERAGE_KEYS:
        return _rate(value)
    if key in NULLABLE and value is None:
        return None
    if key in LIMIT_KEYS or key in INCLUDED_KEYS or key in PRICE_KEYS:
        return _whole(value, LARGEST_COLUMN if key in _PLAIN or key in PRICE_KEYS else LARGEST)
    raise Invalid("key", f"There is nothing named {key!r} to override: choose one of {', '.join(KEYS)}.")


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise Invalid("value", "A feature is there or not: true or false.")
    return value


def _whole(value: Any, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise Invalid("value", f"Choose a whole number from 0 to {most:,}.")
    return value


def _rate(value: Any) -> str | None:
    if value is None:
        return None
    try:
        rate = Decimal(str(value))
    except InvalidOperation:
        raise Invalid("value", "A rate is a decimal number of minor units.") from None
    if not rate.is_finite() or not 0 <= rate < 10**6 or rate != round(rate, DECIMALS):
        raise Invalid("value", f"A rate is from 0 to a million minor units, with {DECIMALS} decimals at most.")
    return f"{rate.normalize():f}"


def needs_approval(plan: Plan, key: str, value: Any) -> bool:
    """Whether a second person must agree: no limit, over five times the plan's, or under a fifth of its price."""
    if key in FEATURE_KEYS:
        return False
    if key in PRICE_KEYS:
        of, what = PRICE_KEYS[key]
        usual_price: int = getattr(current(of), what)
        return int(value) * GENEROUS < usual_price
    if key in OVERAGE_KEYS:
        rate = plan.allowances[OVERAGE_KEYS[key]].overage
        return value is not None and rate is not None and Decimal(value) * GENEROUS < rate
    usual: int | None = plan.allowances[INCLUDED_KEYS[key]].quantity if key in INCLUDED_KEYS else plan.columns[key]
    return usual is not None and (value is None or value > GENEROUS * usual)


def priced(plan: Plan, overrides: Mapping[str, Any]) -> Plan:
    """The plan at the prices that were granted for it: the fixed ones, and the seat's."""
    keys = {what: f"price:{plan.key}:{what}" for what in PRICES}
    granted: dict[str, Any] = {what: int(overrides[key]) for what, key in keys.items() if key in overrides}
    if "seat" not in granted:
        return replace(plan, **granted)
    seats = replace(plan.allowances[Allowance.SEATS], overage=Decimal(granted["seat"]))
    return replace(plan, **granted, allowances={**plan.allowances, Allowance.SEATS: seats})


def applied_to_allowances(
    allowances: Mapping[Allowance, Included], overrides: Mapping[str, Any]
) -> dict[Allowance, Included]:
    """The allowances with what was granted in their place."""
    result = dict(allowances)
    for key, value in overrides.items():
        if key in INCLUDED_KEYS:
            one = INCLUDED_KEYS[key]
            result[one] = replace(result[one], quantity=value)
        elif key in OVERAGE_KEYS:
            one = OVERAGE_KEYS[key]
            result[one] = replace(result[one], overage=None if value is None else Decimal(value))
    return result


def applied_to_columns(columns: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of the organization with what was granted in their place."""
    features = set(columns["features"])
    result = dict(columns)
    for key, value in overrides.items():
        if key in LIMIT_KEYS:
            result[key] = value
        elif key in FEATURE_KEYS:
            (features.add if value else features.discard)(FEATURE_KEYS[key].value)
    return result | {"features": sorted(features)}
