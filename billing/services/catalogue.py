"""Compares the catalogue with Stripe's products, prices and meters, and makes there what is missing.

Nothing here may be called in a transaction: Stripe is asked. What Stripe has is never changed: a price's amount cannot
be, and customers pay by it. A different price is a new version of the plan.
"""

from collections.abc import Iterator
from decimal import Decimal

from billing.plans import ALLOWANCE_NAMES, PLANS, Allowance, Interval, Plan, Price, UnknownPlan, plan
from billing.stripe_client import Json, StripeClient, StripeRefused

MONTHS = {Interval.MONTHLY: "month", Interval.YEARLY: "year"}


def differences(stripe: StripeClient) -> list[str]:
    """What Stripe has otherwise than the catalogue, in sentences; empty when they agree."""
    meters = _meters(stripe)
    found = {price["lookup_key"]: price for price in stripe.list_prices() if price["lookup_key"]}
    names = {meter_id: name for name, meter_id in meters.items()}
    lines = [f"The meter {one} is missing at Stripe." for one in _metered() if one not in meters]
    for one in _prices():
        there = found.pop(one.lookup_key, None)
        lines += (
            [f"{one.lookup_key} is missing at Stripe."]
            if there is None
            else [f"{one.lookup_key} {what}." for what in _differences(one, there, names)]
        )
    return lines + [f"{key} is sold at Stripe, and is not in the catalogue." for key in found if _is_ours(key)]


def push(stripe: StripeClient) -> list[str]:
    """Make at Stripe what is missing there, and name it. A repeated or interrupted push goes on where it was."""
    made = []
    meters = _meters(stripe)
    for one in _metered():
        if one not in meters:
            meter = stripe.create_meter(name=one, title=ALLOWANCE_NAMES[one], key=f"catalogue:meter:{one}")
            meters[one] = meter["id"]
            made.append(f"meter {one}")
    there = {price["lookup_key"] for price in stripe.list_prices()}
    for each in PLANS:
        for price in each.prices:
            if price.lookup_key not in there:
                product = _product(stripe, each, price)
                stripe.create_price(_form(price, product, meters), key=f"catalogue:price:{price.lookup_key}")
                made.append(f"price {price.lookup_key}")
    return made


def _prices() -> list[Price]:
    return [price for one in PLANS for price in one.prices]


def _metered() -> list[Allowance]:
    """The allowances that are paid by use; each has a meter of its own name at Stripe."""
    return sorted({price.allowance for price in _prices() if price.allowance is not None})


def _meters(stripe: StripeClient) -> dict[str, str]:
    return {meter["event_name"]: meter["id"] for meter in stripe.meters()}


def _is_ours(lookup_key: str) -> bool:
    key, _, rest = lookup_key.partition("-v")
    version, _, what = rest.partition("-")
    if not (what and version.isdecimal()) or what.rpartition("-")[2].isdecimal():
        return False  # with an amount at its end it was granted to somebody (`prices`)
    try:
        plan(key, int(version))
    except UnknownPlan:
        return any(one.key == key for one in PLANS)
    return True


def _product(stripe: StripeClient, of: Plan, price: Price) -> str:
    """The product of a price (the plan, its seats or an allowance), made where it is not there."""
    what = _what(price)
    product = f"capsule_{of.key}" + (f"_{what}" if what else "")
    form = {"id": product, "name": f"Capsule Memory {of.name}" + (f": {_name(what)}" if what else "")}
    try:
        stripe.create_product(form, key=f"catalogue:product:{product}")
    except StripeRefused as refusal:
        if refusal.code != "resource_already_exists":
            raise
    return product


def _what(price: Price) -> str:
    """The last word of a price's name; empty for the plan's own price."""
    what = price.lookup_key.rpartition("-")[2]
    return "" if what in set(Interval) else what


def _name(what: str) -> str:
    return "Seats" if what == "seat" else ALLOWANCE_NAMES[Allowance(what)]


def _form(price: Price, product: str, meters: dict[str, str]) -> Json:
    form: Json = {
        "product": product,
        "currency": price.currency,
        "lookup_key": price.lookup_key,
        "nickname": price.lookup_key,
        "recurring": {"interval": MONTHS[price.interval]},
    }
    if price.allowance is None:
        return form | {"unit_amount": int(price.unit)}
    return form | {
        "billing_scheme": "tiered",
        "tiers_mode": "graduated",
        "tiers": [
            {"up_to": price.included, "unit_amount": 0},
            {"up_to": "inf", "unit_amount_decimal": f"{price.unit:f}"},
        ],
        "recurring": {"interval": MONTHS[price.interval], "usage_type": "metered", "meter": meters[price.allowance]},
    }


def _differences(price: Price, there: Json, meters: dict[str, str]) -> Iterator[str]:
    recurring = there["recurring"] or {}
    yield from _differs("is in", price.currency, there["currency"])
    every = (recurring.get("interval"), recurring.get("interval_count"))
    yield from _differs("is paid every", MONTHS[price.interval], every[0] if every[1] == 1 else str(every))
    if price.allowance is None:
        yield from _differs("costs", price.unit, _decimal(there["unit_amount_decimal"]))
        return
    yield from _differs("is counted by", price.allowance.value, meters.get(recurring.get("meter") or "", "no meter"))
    tiers = [(tier["up_to"], _decimal(tier["unit_amount_decimal"])) for tier in there.get("tiers") or ()]
    yield from _differs("costs", [(price.included, Decimal(0)), (None, price.unit)], tiers)


def _differs(words: str, here: object, there: object) -> Iterator[str]:
    if here != there:
        yield f"{words} {here} here and {there} at Stripe"


def _decimal(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)
