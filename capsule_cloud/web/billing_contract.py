"""The contract of a customer: what is committed, what is used of it, and what is to be expected at each step's end."""

from decimal import Decimal

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from billing.invoicing.selectors.standing import Standing, standing
from billing.money import Money
from billing.plans import ALLOWANCE_NAMES, GB, Allowance
from capsule_cloud.web.billing_frame import billing_page
from capsule_cloud.web.chart import Chart, Unit, byte_size, short_number, stacked
from capsule_cloud.web.console import page
from tenancy.access import MemberPrincipal
from tenancy.roles import Right

CENTS = 100
SERIES = {"used": "Used", "committed": "Committed, not used yet"}


@require_safe
@page(Right.BILLING_READ)
def index(request: HttpRequest, member: MemberPrincipal) -> HttpResponse:
    """Where it stands, its ramp, its prices and whom to ask; without one, that there is none."""
    found = standing()
    return billing_page(
        request,
        member,
        "web/billing_contract.html",
        "billing_contract",
        standing=found,
        chart=_chart(found) if found else None,
        rows=_rows(found) if found else [],
    )


def _chart(found: Standing) -> Chart:
    """A column a month: what it has cost, and above it what its part of the commit leaves."""
    currency = found.contract.currency
    usage = [
        (month.start, key, amount)
        for month in found.months
        for key, amount in (("used", month.spent), ("committed", max(0, month.commit - month.spent)))
    ]
    unit = Unit(
        currency.upper(), lambda amount: str(Money(amount, currency)), lambda amount: short_number(amount / 100)
    )
    return stacked(usage, names=SERIES, moments=[month.start for month in found.months], grain="month", unit=unit)


def _rows(found: Standing) -> list[tuple[str, str, str]]:
    """What is included in a month, and what one more costs; of stored bytes, a GB more."""
    rows = []
    for one, of in found.plan.allowances.items():
        is_bytes = one is Allowance.STORED_BYTES
        included = byte_size(of.quantity) if is_bytes else f"{of.quantity:,}"
        price = "none" if of.overage is None else _price(of.overage * (GB if is_bytes else 1), found.contract.currency)
        rows.append((ALLOWANCE_NAMES[one], included, f"{price} a GB" if is_bytes and of.overage is not None else price))
    return rows


def _price(overage: Decimal, currency: str) -> str:
    """From a major unit on as money, below it in cents with all their decimals."""
    if overage >= CENTS and overage == overage.to_integral_value():
        return str(Money(int(overage), currency))
    return f"{overage.normalize():f}¢"
