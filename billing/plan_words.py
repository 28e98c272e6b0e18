"""Says the catalogue in words for people: quantities, prices of more, and the page docs/plans.md."""

from collections.abc import Iterable
from decimal import Decimal

from billing.money import Money, round_line, times
from billing.plans import ALLOWANCE_NAMES, FEATURE_NAMES, GB, PLANS, Allowance, Feature, Included, Plan, sold

# In how many units the price of more is told to people, and how
LOTS: dict[Allowance, tuple[int, str]] = {
    Allowance.OPERATIONS: (1_000, "for 1,000 operations"),
    Allowance.STORED_BYTES: (GB, "for a GB a month"),
    Allowance.DOCUMENTS: (1_000, "for 1,000 documents"),
    Allowance.END_USERS: (1_000, "for 1,000 end users"),
    Allowance.SEATS: (1, "for a seat a month"),
}
LIMIT_NAMES = {
    "project_limit": "Projects",
    "key_limit": "API keys",
    "requests_per_minute": "Requests a minute",
    "audit_retention_months": "Months that the audit log goes back",
}
HEAD = """\
# Plans

Prices are without tax, in US dollars. What is used above what is included is paid at the end of each month; on Free
there is no more: at the cap recalls go on, and writes wait. GB are 10⁹ bytes, the average over the period. A year costs
ten months, and more seats can be added at any time.

This page is made from [`billing/plans.py`](../billing/plans.py): `.venv/bin/python manage.py plan_catalogue --write`.
A change of a plan is a new version; who has a plan keeps the version that they chose.
"""


def quantity(allowance: Allowance, units: int) -> str:
    """So much of an allowance: `250,000`, or `10 GB`."""
    if allowance is Allowance.STORED_BYTES:
        return f"{Decimal(units) / GB:,f} GB"
    return f"{units:,}"


def price_of_more(allowance: Allowance, included: Included, currency: str) -> str:
    """What more costs: `$0.12 for 1,000 operations`; empty where there is no more."""
    if included.overage is None:
        return ""
    lot, words = LOTS[allowance]
    cents = times(included.overage, lot)
    whole, rest = round_line(cents)
    return f"{f'{cents.normalize():f}¢' if rest else Money(whole, currency)} {words}"


def page() -> str:
    """The whole of docs/plans.md."""
    plans = sold()
    blank = ["" for _ in plans]
    lines = [
        HEAD,
        _row("", (f"**{one.name}**" for one in plans)),
        f"|---{'|---' * len(plans)}|",
        _row("A month", (str(Money(one.monthly, one.currency)) for one in plans)),
        _row("A year", (str(Money(one.yearly, one.currency)) for one in plans)),
        _row("Trial", (f"{one.trial_days} days" if one.trial_days else "no" for one in plans)),
        _row("**Included a month**", blank),
        *(_allowance(one, plans) for one in Allowance),
        _row("**Limits**", blank),
        *(_row(name, (f"{one.limits[key]:,}" for one in plans)) for key, name in LIMIT_NAMES.items()),
        _row("**Features**", blank),
        *(_row(FEATURE_NAMES[it], ("✓" if it in one.features else "no" for one in plans)) for it in Feature),
    ]
    versions = ", ".join(f"`{one.key}` version {one.version}" for one in PLANS)
    return "\n".join(lines) + f"\n\nIn the catalogue: {versions}.\n"


def _allowance(allowance: Allowance, plans: Iterable[Plan]) -> str:
    cells = []
    for plan in plans:
        included = plan.allowances[allowance]
        more = price_of_more(allowance, included, plan.currency)
        cells.append(f"{quantity(allowance, included.quantity)}{f', then {more}' if more else ''}")
    return _row(ALLOWANCE_NAMES[allowance].replace(" (average over the period)", ""), cells)


def _row(name: str, cells: Iterable[str]) -> str:
    return f"| {' | '.join([name, *cells])} |"
