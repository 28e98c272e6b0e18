"""Says which of Stripe's prices make a plan, and how a subscription gets from the ones it has to those."""

from collections.abc import Sequence

from billing.plans import Allowance, Interval, Plan
from billing.plans import plan as catalogue_plan
from billing.services.projection import INTERVALS, LOOKUP_KEY
from billing.stripe_client import Item, Json, StripeRefused, client
from tenancy.errors import Invalid

MOST_SEATS = 10_000  # that can be bought at once


def check_seats(seats: int) -> None:
    """Raise Invalid for a number of people that nobody buys."""
    if not 0 <= seats <= MOST_SEATS:
        raise Invalid("seats", f"Choose between 0 and {MOST_SEATS:,} seats; ask us for more.")


def items_for(plan: Plan, interval: Interval, seats: int, *, existing: Sequence[Json] = ()) -> list[Item]:
    """The items of a subscription to the plan, at its prices, as changes of those that exist.

    People beyond those included are one item; each allowance that can be exceeded is a metered one. Raises
    StripeRefused with `price_missing` where Stripe does not have the plan's prices: `manage.py plan_catalogue`.
    """
    extra = max(0, seats - plan.allowances[Allowance.SEATS].quantity)
    wanted: dict[str, int | None] = {interval.value: 1}
    if extra:
        wanted["seat"] = extra
    wanted |= {price.allowance.value: None for price in plan.prices if price.allowance is not None}
    prices = _prices(plan, list(wanted))
    taken: dict[str, Json] = {}
    items = []
    for item in existing:
        what = _place(item)
        if not what:
            continue  # agreed by hand at Stripe: it stays as it is
        if what in taken or (what not in wanted and what != "fixed"):
            items.append(Item(price=item["price"]["id"], id=item["id"], is_deleted=True))
        else:
            taken[what] = item
    for what, quantity in wanted.items():
        old = taken.get("fixed" if what == interval.value else what)
        items.append(Item(price=prices[what], quantity=quantity, id=old["id"] if old else ""))
    return items


def _place(item: Json) -> str:
    """What an item of a subscription is for: `fixed`, `seat`, an allowance, or nothing of ours."""
    match = LOOKUP_KEY.fullmatch(item["price"].get("lookup_key") or "")
    if match is None:
        return ""
    return "fixed" if match["what"] in INTERVALS else match["what"]


def _prices(plan: Plan, wanted: Sequence[str]) -> dict[str, str]:
    granted = _granted(plan)
    catalogue = {what: plan.lookup_key(what) for what in wanted}
    keys = {what: key + (f"-{granted[what]}" if what in granted else "") for what, key in catalogue.items()}
    found = client().prices_by_key([*{*catalogue.values(), *keys.values()}])
    if missing := sorted(set(catalogue.values()) - found.keys()):
        raise StripeRefused("price_missing", f"Stripe has no price {', '.join(missing)}.")
    for what, key in keys.items():
        if key not in found:
            found[key] = _make(found[catalogue[what]], key, granted[what])
    return {what: str(found[key]["id"]) for what, key in keys.items()}


def _granted(plan: Plan) -> dict[str, int]:
    """What the plan costs otherwise than in the catalogue."""
    usual = catalogue_plan(plan.key, plan.version)
    now = {"monthly": plan.monthly, "yearly": plan.yearly, "seat": plan.seat}
    return {what: amount for what, amount in now.items() if amount != getattr(usual, what)}


def _make(usual: Json, key: str, amount: int) -> Json:
    """A price like the catalogue's at another amount, for whoever was granted it; made once, its key says it all."""
    product = usual["product"]
    form = {
        "product": product if isinstance(product, str) else product["id"],
        "currency": usual["currency"],
        "lookup_key": key,
        "nickname": key,
        "recurring": {"interval": usual["recurring"]["interval"]},
        "unit_amount": amount,
    }
    return client().create_price(form, key=f"catalogue:price:{key}")
