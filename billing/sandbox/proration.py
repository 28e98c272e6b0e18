"""What a change in the middle of a period gives back and costs, exact to the second."""

from decimal import Decimal

from billing.sandbox import catalogue, coupons, invoice_items, items
from billing.sandbox.refusals import Json
from billing.sandbox.store import Books


def credit(books: Books, subscription: Json, item: Json, at: int) -> Json | None:
    """Give back what was paid for the rest of the item's period; None where nothing was."""
    amount = -catalogue.cents(Decimal(item["_"]["rate"]) * items.share(item, at))
    if amount == 0:
        return None
    name = items.product_name(books, item["price"])
    text = f"Unused time on {_times(item)}{name} after {items.day(at)}"
    return _put(books, subscription, item, amount, text, at, is_discountable=False)


def debit(books: Books, subscription: Json, item: Json, at: int) -> Json | None:
    """Ask for the rest of the item's period at its price of now; None where that is nothing."""
    discounts = [books.get("discount", one) for one in subscription["discounts"]]
    item["_"]["rate"] = str(items.full(item) * _left_after(discounts, books.now(subscription["customer"])))
    amount = catalogue.cents(items.full(item) * items.share(item, at))
    if amount == 0:
        return None
    name = items.product_name(books, item["price"])
    text = f"Remaining time on {_times(item)}{name} after {items.day(at)}"
    return _put(books, subscription, item, amount, text, at, is_discountable=True)


def used(books: Books, subscription: Json, item: Json, at: int) -> Json | None:
    """Ask for what a metered item has counted before it goes."""
    row = items.usage_row(books, subscription, item, at)
    if row["amount"] == 0:
        return None
    return invoice_items.put(
        books,
        subscription["customer"],
        amount=row["amount"],
        currency=row["currency"],
        description=row["description"],
        period=(row["period"]["start"], row["period"]["end"]),
        price=item["price"],
        quantity=Decimal(row["quantity_decimal"]),
        subscription=subscription["id"],
        item=item["id"],
    )


def _put(
    books: Books, subscription: Json, item: Json, amount: int, text: str, at: int, *, is_discountable: bool
) -> Json:
    return invoice_items.put(
        books,
        subscription["customer"],
        amount=amount,
        currency=subscription["currency"],
        description=text,
        period=(at, item["current_period_end"]),
        price=item["price"],
        quantity=item["quantity"],
        subscription=subscription["id"],
        item=item["id"],
        is_proration=True,
        is_discountable=is_discountable,
    )


def _times(item: Json) -> str:
    return f"{item['quantity']} {items.TIMES} " if item["quantity"] != 1 else ""


def _left_after(discounts: list[Json], now: int) -> Decimal:
    """What percentages leave of a price; the invoice's own line says it exactly later."""
    left = Decimal(1)
    for discount in discounts:
        percent = discount["_"]["coupon"]["percent_off"]
        if percent is not None and not coupons.is_over(discount, now):
            left *= 1 - Decimal(str(percent)) / 100
    return left
