"""Bills a subscription: its first invoice, its renewals, and changes that are invoiced at once."""

from billing.sandbox import catalogue, coupons, invoice_items, invoices, items, methods, standing
from billing.sandbox.refusals import Json, Refusal
from billing.sandbox.store import Books


def invoice(books: Books, subscription: Json, rows: list[Json], *, reason: str, period: tuple[int, int]) -> Json:
    """A draft with the rows and everything that waits for the subscription."""
    customer = books.get("customer", subscription["customer"])
    waiting = invoice_items.pending(books, customer["id"], subscription["id"])
    discounts = live_discounts(books, subscription)
    made = invoices.draft(
        books,
        customer,
        [*invoice_items.take_pending(books, waiting), *rows],
        reason=reason,
        currency=subscription["currency"],
        period=period,
        subscription=subscription,
        discounts=discounts,
    )
    invoice_items.settle(books, waiting, made)
    _keep_rates(subscription, made)
    _use_up(books, subscription, made, discounts)
    return made


def has_waiting(books: Books, subscription: Json) -> bool:
    """Whether something waits for the subscription's next invoice."""
    return bool(invoice_items.pending(books, subscription["customer"], subscription["id"]))


def live_discounts(books: Books, subscription: Json) -> list[Json]:
    """The discounts that still take something off; those that are over are dropped."""
    now, live = books.now(subscription["customer"]), []
    for one in list(subscription["discounts"]):
        found = books.get("discount", one)
        if coupons.is_over(found, now):
            subscription["discounts"].remove(one)
            books.tell_of(found, "customer.discount.deleted")
        else:
            live.append(found)
    return live


def _use_up(books: Books, subscription: Json, made: Json, discounts: list[Json]) -> None:
    """A coupon for one invoice is spent by the first that it takes something off."""
    spent = {one["discount"] for one in made["total_discount_amounts"] if one["amount"]}
    for discount in discounts:
        if discount["_"]["coupon"]["duration"] == "once" and discount["id"] in spent:
            discount["_"]["used"] = True
            books.save(discount)
            subscription["discounts"].remove(discount["id"])
            books.tell_of(discount, "customer.discount.deleted")


def _keep_rates(subscription: Json, made: Json) -> None:
    """Remember for each item what its period really costs, from the invoice's own lines."""
    by_id = {item["id"]: item for item in subscription["items"]["data"]}
    for row in made["lines"]["data"]:
        details = (row["parent"] or {}).get("subscription_item_details")
        item = by_id.get(details["subscription_item"]) if details else None
        if item and row["amount"] > 0 and row["period"]["end"] == item["current_period_end"]:
            items.keep_rate(item, row)


def renew(books: Books, subscription: Json, at: int) -> Json:
    """Invoice the items whose period ends at `at`: usage of the old period, the price of the next one."""
    due = [item for item in subscription["items"]["data"] if item["current_period_end"] <= at]
    start = min(item["current_period_start"] for item in due)
    rows = []
    for item in due:
        if catalogue.is_metered(item["price"]):
            rows.append(items.usage_row(books, subscription, item, item["current_period_end"]))
        items.next_period(item)
        item["_"]["rate"] = "0"
        if "quantity" in item:
            rows.append(items.row(books, subscription, item))
    made = invoice(books, subscription, rows, reason="subscription_cycle", period=(start, at))
    subscription["_"]["upcoming_told"] = False
    books.save(subscription, "customer.subscription.updated")
    _hold_back(books, subscription, made)
    return made


def last_usage(books: Books, subscription: Json, at: int) -> Json | None:
    """The last invoice of a subscription that ends: what its meters counted, and what waits."""
    metered = [item for item in subscription["items"]["data"] if catalogue.is_metered(item["price"])]
    rows = [items.usage_row(books, subscription, item, at) for item in metered]
    rows = [row for row in rows if row["amount"]]
    if not rows and not invoice_items.pending(books, subscription["customer"], subscription["id"]):
        return None
    start = min((item["current_period_start"] for item in metered), default=at)
    made = invoice(books, subscription, rows, reason="subscription_cycle", period=(start, at))
    books.save(subscription)
    return made


def leave_trial(books: Books, subscription: Json) -> bool:
    """End a trial; False where nothing can be paid and the subscription therefore ends, or pauses, as was chosen."""
    customer = books.get("customer", subscription["customer"])
    behavior = subscription["trial_settings"]["end_behavior"]["missing_payment_method"]
    can_pay = methods.of_customer(books, customer, subscription["default_payment_method"]) is not None
    if can_pay or behavior == "create_invoice" or subscription["collection_method"] == "send_invoice":
        subscription["status"] = "active"
        return True
    if behavior == "cancel":
        standing.end(books, subscription, "payment_failed")
    else:
        subscription["status"] = "paused"
        books.save(subscription, "customer.subscription.paused")
    return False


def _hold_back(books: Books, subscription: Json, made: Json) -> None:
    """Keep the invoice from being collected where collection is paused, or the subscription is unpaid."""
    paused = subscription["pause_collection"]
    if not paused and subscription["status"] != "unpaid":
        return
    made |= {"auto_advance": False, "automatically_finalizes_at": None}
    books.save(made, "invoice.updated")
    if paused and paused["behavior"] != "keep_as_draft":
        invoices.finalize(books, made)
        if made["status"] == "open":
            invoices.void(books, made, is_uncollectible=paused["behavior"] == "mark_uncollectible")


def charge_now(books: Books, made: Json, *, off_session: bool = True) -> Refusal | None:
    """Finalize a draft at once and take its payment; the bank's no is returned."""
    invoices.finalize(books, made)
    if made["status"] == "open" and made["collection_method"] == "charge_automatically":
        return invoices.collect(books, made, off_session=off_session)
    return None
