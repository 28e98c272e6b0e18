"""The catalogue of plans: prices, what is included, what more costs, limits and features; a version never changes.

A change of a plan is a new version: customers keep the one they chose. docs/plans.md is made from this file
(`manage.py plan_catalogue --write`), and `manage.py plan_catalogue --diff` compares it with Stripe.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from billing.metering.meters import Meter


class UnknownPlan(Exception):
    """There is no such plan, or no such version of it. A retry does not help."""


class Allowance(StrEnum):
    """What a plan includes so much of in a period."""

    OPERATIONS = "operations"
    STORED_BYTES = "stored_bytes"
    DOCUMENTS = "documents"
    END_USERS = "end_users"
    SEATS = "seats"


class Feature(StrEnum):
    """What a plan can do, or not at all (403 `feature_not_in_plan`)."""

    MCP = "mcp"
    PARKED_WRITES = "parked_writes"
    DATA_PLANES = "data_planes"
    MANUAL_INVOICES = "manual_invoices"


class Interval(StrEnum):
    """How often a plan's fixed price is paid; what was used is paid monthly."""

    MONTHLY = "monthly"
    YEARLY = "yearly"


ALLOWANCE_METERS: Mapping[Allowance, frozenset[Meter]] = MappingProxyType(
    {
        Allowance.OPERATIONS: frozenset({Meter.INGEST, Meter.RECALL, Meter.SEAL, Meter.IMPORT}),
        Allowance.STORED_BYTES: frozenset({Meter.STORED_BYTES}),
        Allowance.DOCUMENTS: frozenset({Meter.DOCUMENT}),
        Allowance.END_USERS: frozenset({Meter.END_USER}),
        Allowance.SEATS: frozenset({Meter.SEAT}),
    }
)
ALLOWANCE_NAMES: Mapping[Allowance, str] = MappingProxyType(
    {
        Allowance.OPERATIONS: "Memory operations (ingest, recall, seal, import)",
        Allowance.STORED_BYTES: "Stored bytes (average over the period)",
        Allowance.DOCUMENTS: "Connector documents",
        Allowance.END_USERS: "Active end users",
        Allowance.SEATS: "Seats",
    }
)
FEATURE_NAMES: Mapping[Feature, str] = MappingProxyType(
    {
        Feature.MCP: "MCP endpoint",
        Feature.PARKED_WRITES: "Writes parked at a cap instead of refused",
        Feature.DATA_PLANES: "Data planes of your own, with signed entitlements",
        Feature.MANUAL_INVOICES: "Invoices paid by bank transfer, with your order number",
    }
)
# What goes on where a copy of the entitlements has run out and we cannot be asked; everything else stops
FAIL_OPEN = frozenset({Feature.MCP})
# The column of Organization that holds an allowance where nothing more can be bought; null where it can
LIMIT_COLUMNS: Mapping[Allowance, str] = MappingProxyType(
    {
        Allowance.OPERATIONS: "operation_limit",
        Allowance.STORED_BYTES: "stored_byte_limit",
        Allowance.DOCUMENTS: "document_limit",
        Allowance.END_USERS: "end_user_limit",
    }
)


@dataclass(frozen=True, slots=True)
class Included:
    """How much of an allowance a period includes, and what each unit more costs.

    `overage` is in minor units with up to 12 decimals; None: there is no more, `quantity` is a hard cap.
    """

    quantity: int
    overage: Decimal | None = None


def hard_limits(allowances: Mapping[Allowance, Included]) -> dict[str, int | None]:
    """The columns of Organization that allowances fill: what is included where no more can be bought, else null."""
    return {
        column: allowances[one].quantity if allowances[one].overage is None else None
        for one, column in LIMIT_COLUMNS.items()
    }


@dataclass(frozen=True, slots=True)
class Price:
    """A price as Stripe holds it: an amount for each interval, or a rate above what is included for an allowance."""

    lookup_key: str
    unit: Decimal  # minor units
    currency: str
    interval: Interval
    allowance: Allowance | None = None
    included: int = 0  # units of the allowance that cost nothing


@dataclass(frozen=True, slots=True)
class Plan:
    """One version of a plan. Amounts are minor units of `currency`, without tax."""

    key: str
    version: int
    name: str
    monthly: int
    yearly: int
    seat: int  # a month for each seat above those included; 0: none can be bought
    allowances: Mapping[Allowance, Included]
    limits: Mapping[str, int]  # columns of Organization
    features: frozenset[Feature]
    trial_days: int = 0
    currency: str = "usd"

    def lookup_key(self, what: str) -> str:
        """The name of one of its prices in Stripe; `what` is an interval, `seat` or an allowance."""
        return f"{self.key}-v{self.version}-{what}"

    def amount(self, interval: Interval) -> int:
        """The fixed price of an interval."""
        return self.monthly if interval is Interval.MONTHLY else self.yearly

    @property
    def columns(self) -> dict[str, Any]:
        """What an organization on this plan has in its columns, overrides and contracts aside."""
        return {**self.limits, **hard_limits(self.allowances), "features": sorted(self.features)}

    @property
    def prices(self) -> list[Price]:
        """Every price that Stripe must have for it; a free plan has none."""
        if not self.monthly:
            return []
        fixed = [
            Price(self.lookup_key(interval), Decimal(self.amount(interval)), self.currency, interval)
            for interval in Interval
        ]
        seats = [Price(self.lookup_key("seat"), Decimal(self.seat), self.currency, Interval.MONTHLY)]
        metered = [
            Price(self.lookup_key(one), of.overage, self.currency, Interval.MONTHLY, one, of.quantity)
            for one, of in self.allowances.items()
            if of.overage is not None and one is not Allowance.SEATS
        ]
        return [*fixed, *seats, *metered]


GB = 10**9
PLANS: tuple[Plan, ...] = (
    Plan(
        key="free",
        version=1,
        name="Free",
        monthly=0,
        yearly=0,
        seat=0,
        allowances={
            Allowance.OPERATIONS: Included(25_000),
            Allowance.STORED_BYTES: Included(GB),
            Allowance.DOCUMENTS: Included(500),
            Allowance.END_USERS: Included(1_000),
            Allowance.SEATS: Included(10),
        },
        limits={
            "project_limit": 5,
            "member_limit": 10,
            "key_limit": 50,
            "requests_per_minute": 3_000,
            "audit_retention_months": 3,
        },
        features=frozenset({Feature.MCP}),
    ),
    Plan(
        key="pro",
        version=1,
        name="Pro",
        monthly=29_00,
        yearly=290_00,
        seat=9_00,
        allowances={
            Allowance.OPERATIONS: Included(250_000, Decimal("0.012")),
            Allowance.STORED_BYTES: Included(10 * GB, Decimal("0.000000025")),
            Allowance.DOCUMENTS: Included(10_000, Decimal("0.2")),
            Allowance.END_USERS: Included(10_000, Decimal("0.1")),
            Allowance.SEATS: Included(10, Decimal(9_00)),
        },
        limits={
            "project_limit": 25,
            "member_limit": 10,
            "key_limit": 250,
            "requests_per_minute": 6_000,
            "audit_retention_months": 12,
        },
        features=frozenset({Feature.MCP, Feature.PARKED_WRITES}),
        trial_days=14,
    ),
    Plan(
        key="scale",
        version=1,
        name="Scale",
        monthly=249_00,
        yearly=2_490_00,
        seat=8_00,
        allowances={
            Allowance.OPERATIONS: Included(3_000_000, Decimal("0.008")),
            Allowance.STORED_BYTES: Included(100 * GB, Decimal("0.00000002")),
            Allowance.DOCUMENTS: Included(100_000, Decimal("0.1")),
            Allowance.END_USERS: Included(100_000, Decimal("0.05")),
            Allowance.SEATS: Included(25, Decimal(8_00)),
        },
        limits={
            "project_limit": 200,
            "member_limit": 25,
            "key_limit": 2_000,
            "requests_per_minute": 30_000,
            "audit_retention_months": 36,
        },
        features=frozenset({Feature.MCP, Feature.PARKED_WRITES, Feature.DATA_PLANES}),
        trial_days=14,
    ),
    Plan(
        key="enterprise",
        version=1,
        name="Enterprise",
        monthly=1_500_00,
        yearly=15_000_00,
        seat=6_00,
        allowances={
            Allowance.OPERATIONS: Included(25_000_000, Decimal("0.005")),
            Allowance.STORED_BYTES: Included(1_000 * GB, Decimal("0.000000015")),
            Allowance.DOCUMENTS: Included(1_000_000, Decimal("0.05")),
            Allowance.END_USERS: Included(1_000_000, Decimal("0.02")),
            Allowance.SEATS: Included(100, Decimal(6_00)),
        },
        limits={
            "project_limit": 2_000,
            "member_limit": 100,
            "key_limit": 20_000,
            "requests_per_minute": 120_000,
            "audit_retention_months": 84,
        },
        features=frozenset(Feature),
        trial_days=30,
    ),
)
FREE = "free"
_BY_VERSION = {(one.key, one.version): one for one in PLANS}
_CURRENT = {one.key: one for one in sorted(PLANS, key=lambda one: one.version)}


def plan(key: str, version: int) -> Plan:
    """One version of a plan, as the customers who chose it have it. Raises UnknownPlan."""
    found = _BY_VERSION.get((key, version))
    if found is None:
        raise UnknownPlan(f"There is no version {version} of a plan {key!r}.")
    return found


def current(key: str) -> Plan:
    """The newest version of a plan: what is sold today. Raises UnknownPlan."""
    found = _CURRENT.get(key)
    if found is None:
        raise UnknownPlan(f"There is no plan {key!r}.")
    return found


def sold() -> list[Plan]:
    """The newest version of every plan, in the order of the catalogue."""
    return [one for one in PLANS if _CURRENT[one.key] is one]
