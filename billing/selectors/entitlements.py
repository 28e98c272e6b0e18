"""Reads what the organization in scope is entitled to: its plan's version, what was agreed, what was granted."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from billing.models.entitlements import EntitlementOverride
from billing.overrides import applied_to_allowances, applied_to_columns, priced
from billing.periods import Period
from billing.plans import Allowance, Included, Plan, hard_limits
from billing.selectors.agreements import agreement
from tenancy.clock import here
from tenancy.models import Organization


@dataclass(frozen=True, slots=True)
class Entitlements:
    """What holds now: `base` is the agreement's, `columns` what overrides made of it, as columns of Organization.

    `plan` is at the prices that were granted.
    """

    plan: Plan
    source: str
    allowances: Mapping[Allowance, Included]
    base: Mapping[str, Any]
    columns: Mapping[str, Any]
    period: Period | None
    overrides: tuple[EntitlementOverride, ...]


def effective(*, now: datetime | None = None) -> Entitlements:
    """The entitlements of the organization in scope at `now`, computed anew."""
    now = now or here()
    agreed = agreement(now)
    granted = tuple(live_overrides(now))
    values = {one.key: one.value for one in granted}
    plan = priced(agreed.plan, values)
    allowances = applied_to_allowances(plan.allowances, values)
    start, end = agreed.period or (None, None)
    fixed = {**agreed.plan.limits, "period_start": start, "period_end": end, "features": sorted(agreed.features)}
    base = {**fixed, **hard_limits(agreed.allowances), "member_limit": agreed.seats}
    seats = max(agreed.seats, allowances[Allowance.SEATS].quantity)
    beneath = {**fixed, **hard_limits(allowances), "member_limit": seats}
    return Entitlements(
        plan=plan,
        source=agreed.source,
        allowances=allowances,
        base=base,
        columns=applied_to_columns(beneath, values),
        period=agreed.period,
        overrides=granted,
    )


def at_granted_prices(plan: Plan, *, now: datetime | None = None) -> Plan:
    """A plan as the organization in scope would pay for it."""
    return priced(plan, {one.key: one.value for one in live_overrides(now or here())})


def live_overrides(now: datetime) -> list[EntitlementOverride]:
    """What was granted and holds at `now`, which may be past, by key."""
    granted = EntitlementOverride.objects.filter(holds_from__lte=now, expires_at__gt=now)
    return list(granted.exclude(ended_at__lte=now).order_by("key"))


def override_history() -> list[EntitlementOverride]:
    """Everything that was ever granted, or waits for approval, newest first."""
    return list(EntitlementOverride.objects.order_by("-created_at"))


def content(organization: Organization, entitled: Entitlements) -> dict[str, Any]:
    """What an organization is entitled to, as JSON: the part of a snapshot that does not depend on when it is made."""
    columns = entitled.columns
    return {
        "plan": {"key": entitled.plan.key, "version": entitled.plan.version, "basis": entitled.source},
        "prices": {name: getattr(entitled.plan, name) for name in ("monthly", "yearly", "seat", "currency")},
        "access": str(organization.access),
        "features": list(columns["features"]),
        "limits": {name: value for name, value in sorted(columns.items()) if name.endswith(("_limit", "_minute"))},
        "included": {
            one.value: {"quantity": of.quantity, "overage": None if of.overage is None else f"{of.overage:f}"}
            for one, of in entitled.allowances.items()
        },
        "period": {"start": plain(columns["period_start"]), "end": plain(columns["period_end"])},
    }


def plain(value: Any) -> Any:
    """A column's value as JSON has it."""
    return value.astimezone(UTC).isoformat() if isinstance(value, datetime) else value
