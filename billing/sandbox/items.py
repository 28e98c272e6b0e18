"""The items of a subscription: a price, a quantity, a period, and what that period costs."""

from datetime import UTC, datetime
from decimal import Decimal

from billing.sandbox import catalogue, lines, meters
from billing.sandbox.ids import new_id
from billing.sandbox.periods import next_end, start_before
from billing.sandbox.refusals import Json, Refusal
from billing.sandbox.store import Books

MOST = 20
TIMES = "\N{MULTIPLICATION SIGN}"


def make(books: Books, subscription: Json, given: Json, anchor: int, start: int) -> Json:
    """An item as it is asked for, in the period of the anchor that `start` is in. Raises Refusal."""
    price = price_of(books, given)
    if price["type"] != "recurring":
        raise Refusal(
            "The price specified is set to `type=one_time` but this field only accepts prices with `type=recurring`."
        )
    if not price["active"]:
        raise Refusal(f"The price specified is inactive: '{price['id']}'.", param="items")
    item: Json = {"id": new_id("subscription_item"), "object": "subscription_item", "created": start}
    item |= {"billing_thresholds": None, "discounts": [], "metadata": given.get("metadata") or {}, "tax_rates": []}
    item |= {"subscription": subscription["id"], "_": {"rate": "0"}}
    put_price(item, price, given.get("quantity"))
    put_period(item, anchor, start)
    return item


def price_of(books: Books, given: Json) -> Json:
    """The price that a parameter names or describes. Raises Refusal."""
    if "price_data" in given:
        return catalogue.create_price(books, dict(given["price_data"]))
    if "price" not in given:
        raise Refusal("Missing required param: items[price].", code="parameter_missing", param="items[price]")
    return books.get("price", given["price"], "items[0][price]")


def put_price(item: Json, price: Json, quantity: int | None) -> None:
    """Give the item its price and, unless it is metered, its quantity. Raises Refusal."""
    item["price"] = dict(price)
    if catalogue.is_metered(price):
        if quantity is not None:
            raise Refusal("Quantity should not be specified where usage_type is `metered`.", param="items[quantity]")
        item.pop("quantity", None)
        return
    wanted = quantity if quantity is not None else item.get("quantity", 1)
    if wanted < 0:
        raise Refusal("Invalid non-negative integer", code="parameter_invalid_integer", param="items[quantity]")
    item["quantity"] = wanted


def put_period(item: Json, anchor: int, start: int) -> None:
    """Put the item into the anchor's period that `start` is in."""
    item["current_period_start"] = start
    item["current_period_end"] = next_end(anchor, *_interval(item), start)
    item["_"]["anchor"] = anchor


def next_period(item: Json) -> None:
    """Move the item into the period after its own."""
    put_period(item, item["_"]["anchor"], item["current_period_end"])


def whole(item: Json) -> int:
    """The length in seconds of the whole period, of which the current one may be a part."""
    end = int(item["current_period_end"])
    return end - start_before(item["_"]["anchor"], *_interval(item), end)


def share(item: Json, start: int) -> Decimal:
    """What part of the whole period is left at `start`, exact to the second."""
    return Decimal(item["current_period_end"] - start) / Decimal(whole(item))


def _interval(item: Json) -> tuple[str, int]:
    recurring = item["price"]["recurring"]
    return recurring["interval"], recurring["interval_count"]


def has_interval(item: Json, price: Json) -> bool:
    """Whether the price is billed as often as the item is."""
    return _interval(item) == _interval({"price": price})


def full(item: Json) -> Decimal:
    """What the item costs for a whole period, before discounts."""
    return Decimal(0) if "quantity" not in item else catalogue.amount_of(item["price"], Decimal(item["quantity"]))


def row(books: Books, subscription: Json, item: Json, *, is_trial: bool = False, is_free: bool = False) -> Json:
    """The line of an invoice for the item's current period, or the part of it from its start."""
    is_partial = item["current_period_end"] - item["current_period_start"] != whole(item)
    part = share(item, item["current_period_start"]) if is_partial else Decimal(1)
    amount = 0 if is_trial or is_free else catalogue.cents(full(item) * part)
    name = product_name(books, item["price"])
    text = f"Trial period for {name}" if is_trial else f"{item['quantity']} {TIMES} {name} ({at(item['price'])})"
    return lines.line(
        amount=amount,
        currency=subscription["currency"],
        description=text,
        period=(item["current_period_start"], item["current_period_end"]),
        price=item["price"],
        quantity=item["quantity"],
        metadata=dict(item["metadata"]),
        parent=lines.of_item(subscription["id"], item["id"]),
        subscription=subscription["id"],
    )


def usage_row(books: Books, subscription: Json, item: Json, until: int) -> Json:
    """The line for what a metered item's meter counted in the current period, up to `until`."""
    start = item["current_period_start"]
    made = lines.line(
        amount=0,
        currency=subscription["currency"],
        description="",
        period=(start, until),
        price=item["price"],
        quantity=0,
        metadata=dict(item["metadata"]),
        parent=lines.of_item(subscription["id"], item["id"]),
        subscription=subscription["id"],
    )
    _count(books, subscription["customer"], made, item["price"])
    return made


def recount(books: Books, invoice: Json) -> None:
    """Count the meters of a draft's lines anew: what was reported while it was one is on the invoice."""
    for row in invoice["lines"]["data"]:
        details = (row["parent"] or {}).get("subscription_item_details")
        if details and not details["proration"]:
            price = books.get("price", row["pricing"]["price_details"]["price"])
            if catalogue.is_metered(price):
                _count(books, invoice["customer"], row, price)


def _count(books: Books, customer: str, row: Json, price: Json) -> None:
    """Put on the line what the price's meter counted in the line's period."""
    meter = books.get("billing.meter", price["recurring"]["meter"])
    used = meters.total(books, meter, customer, row["period"]["start"], row["period"]["end"])
    amount = catalogue.cents(catalogue.amount_of(price, used))
    row |= {"amount": amount, "subtotal": amount, "quantity": int(used), "quantity_decimal": f"{used.normalize():f}"}
    row["description"] = f"{used.normalize():f} {TIMES} {product_name(books, price)} ({at(price)})"


def keep_rate(item: Json, billed: Json) -> None:
    """Remember what a whole period costs after discounts: that is what an unused part of it gives back."""
    span = Decimal(billed["period"]["end"] - billed["period"]["start"])
    item["_"]["rate"] = str(Decimal(lines.net(billed)) * whole(item) / span if span else Decimal(0))


def product_name(books: Books, price: Json) -> str:
    """The name of the price's product."""
    return str(books.get("product", price["product"])["name"])


def at(price: Json) -> str:
    """A price in words, as in `at $20.00 / month`."""
    recurring = price["recurring"]
    count = recurring["interval_count"]
    every = recurring["interval"] if count == 1 else f"{count} {recurring['interval']}s"
    if price["unit_amount_decimal"] is None:
        return f"tiered / {every}"
    return f"at {money(Decimal(price['unit_amount_decimal']), price['currency'])} / {every}"


def money(amount: Decimal, currency: str) -> str:
    """Minor units in words: $20.00, or 20.00 eur; sub-cent prices keep their digits."""
    major = (amount / 100).normalize()
    digits = max(2, -int(major.as_tuple().exponent))
    return f"${major:.{digits}f}" if currency == "usd" else f"{major:.{digits}f} {currency}"


def day(moment: int) -> str:
    """A day in words, as in `4 Nov 2026`."""
    return f"{datetime.fromtimestamp(moment, UTC):%-d %b %Y}"
