"""Subscriptions: made, read, cancelled. Changes to one are in changes.py, its invoices in cycle.py."""

from typing import Any

from billing.sandbox import (
    coupons,
    customers,
    cycle,
    invoice_items,
    invoices,
    items,
    lists,
    methods,
    proration,
    standing,
    taxes,
)
from billing.sandbox.periods import DAY, days_after
from billing.sandbox.refusals import Json, Refusal
from billing.sandbox.routing import answers
from billing.sandbox.store import DUE, Books, listing

EXPIRES = 23 * 3600  # how long a first payment may take
UPCOMING, TRIAL_ENDING = 7 * DAY, 3 * DAY  # how long before are the reminders
PAYS_AT_ONCE = ("allow_incomplete", "error_if_incomplete")


def due(subscription: Json) -> int | None:
    """When the subscription moves by itself: a reminder, a renewal, an end."""
    status, end = subscription["status"], period_end(subscription)
    if status == "incomplete":
        return int(subscription["created"]) + EXPIRES
    if status not in {"trialing", "active", "past_due", "unpaid"}:
        return None
    moments = [end]
    if not subscription["_"].get("upcoming_told"):
        moments.append(end - UPCOMING)
    if status == "trialing" and not subscription["_"].get("trial_end_told"):
        moments.append(subscription["trial_end"] - TRIAL_ENDING)
    if subscription["cancel_at"]:
        moments.append(subscription["cancel_at"])
    if (paused := subscription["pause_collection"]) and paused["resumes_at"]:
        moments.append(paused["resumes_at"])
    return min(moments)


DUE["subscription"] = due


def period_end(subscription: Json) -> int:
    """When the first of the items' periods ends."""
    return min(int(item["current_period_end"]) for item in subscription["items"]["data"])


@answers("POST /v1/subscriptions")
def create(books: Books, params: Json, *, pays_now: bool = True) -> Json:
    """Subscribe a customer. Raises Refusal where it cannot pay and the caller wants to know.

    Without `pays_now` it runs at once, and its first invoice is collected an hour later, as a schedule's is.
    """
    wanted: list[Json] = params.get("items") or []
    if not 0 < len(wanted) <= items.MOST:
        raise Refusal(f"A subscription has between 1 and {items.MOST} items.", param="items", code="parameter_missing")
    if "customer" not in params:
        raise Refusal("Missing required param: customer.", code="parameter_missing", param="customer")
    price = items.price_of(books, wanted[0])
    wanted = [{**wanted[0], "price": price["id"]}, *wanted[1:]]
    wanted[0].pop("price_data", None)
    customer = customers.hold_currency(books, params["customer"], price["currency"])
    made = _blank(books, customer, params, price["currency"])
    start, anchor = made["start_date"], made["billing_cycle_anchor"]
    made["items"] = listing([], f"/v1/subscription_items?subscription={made['id']}")
    for given in wanted:
        item = items.make(books, made, given, anchor, start)
        _refuse_twins(made["items"]["data"], item)
        made["items"]["data"].append(item)
        if item["price"]["currency"] != price["currency"]:
            raise Refusal("All prices on a subscription must have the same currency.", param="items")
        if made["trial_end"]:
            item |= {"current_period_start": start, "current_period_end": made["trial_end"]}
    put_discounts(books, made, params.get("discounts") or [])
    if pays_now and made["status"] == "active" and made["collection_method"] == "charge_automatically":
        made["status"] = "incomplete"  # until its first invoice is paid
    books.add(made)
    books.tell_of(made, "customer.subscription.created")
    if made["trial_end"] and made["trial_end"] - TRIAL_ENDING <= start:
        made["_"]["trial_end_told"] = True
        books.tell_of(made, "customer.subscription.trial_will_end")
    for extra in params.get("add_invoice_items") or []:
        invoice_items.create(books, _extra(extra) | {"customer": customer["id"], "subscription": made["id"]})
    _first_invoice(books, made, params, pays_now=pays_now)
    return books.save(made, "customer.subscription.updated")


def _extra(given: Json) -> Json:
    found = {name: given[name] for name in ("price_data", "quantity", "metadata") if name in given}
    return found | ({"pricing": {"price": given["price"]}} if "price" in given else {})


def _blank(books: Books, customer: Json, params: Json, currency: str) -> Json:
    """The subscription without items: its times, and how it is collected."""
    now = books.now(customer["id"])
    taken = ("description", "days_until_due", "metadata", "collection_method", "billing_mode")
    given = {name: params[name] for name in taken if name in params}
    made = books.new("subscription", given, customer=customer["id"], currency=currency, created=now, start_date=now)
    made |= {"status": "active", "test_clock": customer["test_clock"], "metadata": params.get("metadata") or {}}
    made |= {"collection_method": params.get("collection_method", "charge_automatically"), "billing_schedules": []}
    if made["collection_method"] == "send_invoice" and made["days_until_due"] is None:
        raise Refusal("You must pass days_until_due with collection_method=send_invoice.", param="days_until_due")
    made["billing_mode"] = {"flexible": None, "type": "flexible"} | (params.get("billing_mode") or {})
    made |= {"invoice_settings": {"account_tax_ids": None, "issuer": {"type": "self"}}, "default_tax_rates": []}
    settings = {"payment_method_options": None, "payment_method_types": None, "save_default_payment_method": "off"}
    made["payment_settings"] = settings | (params.get("payment_settings") or {})
    made["trial_settings"] = params.get("trial_settings") or {
        "end_behavior": {"missing_payment_method": "create_invoice"}
    }
    made["automatic_tax"] = {"disabled_reason": None, "enabled": False, "liability": None}
    made |= taxes.of_subscription(books, customer["id"], params)
    put_method(books, made, params.get("default_payment_method"))
    _set_trial(made, params, now)
    anchor = params.get("billing_cycle_anchor", now)
    if anchor < now:
        raise Refusal("billing_cycle_anchor must be in the future.", param="billing_cycle_anchor")
    made["billing_cycle_anchor"] = made["trial_end"] or anchor
    made["cancel_at_period_end"] = False
    return made


def _set_trial(made: Json, params: Json, now: int) -> None:
    end = params.get("trial_end")
    if end is None and params.get("trial_period_days"):
        end = days_after(now, params["trial_period_days"])
    if end is None or end == "now":
        return
    if end <= now or end > now + 730 * DAY:
        raise Refusal("A trial ends in the future, within 730 days.", param="trial_end")
    made |= {"trial_start": now, "trial_end": end, "status": "trialing"}


def put_method(books: Books, subscription: Json, method: str | None) -> None:
    """Set what the subscription is paid with. Raises Refusal where it is not the customer's."""
    if method and books.get("payment_method", method, "default_payment_method")["customer"] != subscription["customer"]:
        message = f"The customer does not have a payment method with the ID {method}."
        raise Refusal(message, code="resource_missing", param="default_payment_method")
    if method is not None:
        subscription["default_payment_method"] = method or None


def put_discounts(books: Books, subscription: Json, given: list[Json]) -> None:
    """Redeem the coupons and codes for the subscription, in place of what it had."""
    customer, owner = subscription["customer"], subscription["id"]
    subscription["discounts"] = [coupons.redeem(books, customer, one, subscription=owner)["id"] for one in given]


def _refuse_twins(others: list[Json], item: Json) -> None:
    if any(one["price"]["id"] == item["price"]["id"] for one in others):
        message = "Cannot add multiple subscription items with the same price. Update the item's quantity instead."
        raise Refusal(message, param="items")


def _first_invoice(books: Books, made: Json, params: Json, *, pays_now: bool) -> None:
    """Bill the first period, and let the payment decide whether the subscription runs."""
    is_trial, is_free = made["status"] == "trialing", params.get("proration_behavior") == "none"
    rows = [
        items.row(books, made, item, is_trial=is_trial, is_free=is_free and _is_partial(item))
        for item in made["items"]["data"]
        if "quantity" in item
    ]
    start = made["start_date"]
    invoice = cycle.invoice(books, made, rows, reason="subscription_create", period=(start, start))
    _set_end(made, params)
    books.save(made)
    behavior = params.get("payment_behavior", "allow_incomplete")
    if made["collection_method"] == "send_invoice" or not pays_now:
        return
    invoices.finalize(books, invoice)
    if invoice["status"] == "paid":
        return
    if behavior in PAYS_AT_ONCE:
        _pay_first(books, made, invoice, params, must_succeed=behavior == "error_if_incomplete")


def _pay_first(books: Books, made: Json, invoice: Json, params: Json, *, must_succeed: bool) -> None:
    customer = books.get("customer", made["customer"])
    if methods.of_customer(books, customer, made["default_payment_method"]) is None:
        message = f"{invoices.NONE_TO_PAY_WITH} Please consider adding a default payment method."
        raise Refusal(message, code="resource_missing")
    refusal = invoices.collect(books, invoice, off_session=params.get("off_session", False))
    if must_succeed and invoice["status"] != "paid":
        if refusal is None:
            message = "Payment for this subscription requires additional user action."
            refusal = Refusal(
                message, status=402, kind="card_error", code="subscription_payment_intent_requires_action"
            )
        refusal.keeps = False
        raise refusal


def _is_partial(item: Json) -> bool:
    return bool(item["current_period_end"] - item["current_period_start"] != items.whole(item))


def _set_end(made: Json, params: Json) -> None:
    if params.get("cancel_at_period_end"):
        made |= {"cancel_at_period_end": True, "cancel_at": period_end(made), "canceled_at": made["created"]}
    elif at := params.get("cancel_at"):
        set_cancel_at(made, at, made["created"])


def set_cancel_at(subscription: Json, at: Any, now: int) -> None:
    """Let the subscription end at a moment, or at a period's end by Stripe's words. Raises Refusal for the past."""
    ends = [item["current_period_end"] for item in subscription["items"]["data"]]
    moment = {"min_period_end": min(ends), "max_period_end": max(ends)}.get(at, at)
    if moment <= now:
        raise Refusal("cancel_at must be in the future.", param="cancel_at")
    subscription |= {"cancel_at": moment, "canceled_at": now, "cancel_at_period_end": False}


@answers("GET /v1/subscriptions/{subscription_exposed_id}")
def retrieve(books: Books, params: Json, subscription_exposed_id: str) -> Json:
    """One subscription."""
    return books.get("subscription", subscription_exposed_id)


@answers("GET /v1/subscriptions")
def list_all(books: Books, params: Json) -> Json:
    """The subscriptions, newest first; ended ones only where `status` asks for them."""
    status, price = params.pop("status", None), params.pop("price", None)

    def fits(one: Json) -> bool:
        if price and all(item["price"]["id"] != price for item in one["items"]["data"]):
            return False
        if status is None:
            return bool(one["status"] != "canceled")
        if status == "ended":
            return one["status"] in standing.OVER
        return bool(status in {"all", one["status"]})

    return lists.page(books, "subscription", params, "/v1/subscriptions", fits)


@answers("DELETE /v1/subscriptions/{subscription_exposed_id}")
def cancel(books: Books, params: Json, subscription_exposed_id: str) -> Json:
    """End a subscription at once; `prorate` gives back the unused time, `invoice_now` bills what is left."""
    found = books.get("subscription", subscription_exposed_id)
    if found["status"] in standing.OVER:
        raise Refusal(f"No such subscription: '{found['id']}'", status=404, code="resource_missing", param="id")
    end_now(books, found, params)
    return found


def end_now(books: Books, found: Json, params: Json) -> None:
    """End it now, as the customer wishes."""
    now = books.now(found["customer"])
    if params.get("prorate"):
        for item in found["items"]["data"]:
            if "quantity" in item:
                proration.credit(books, found, item, now)
    made = cycle.last_usage(books, found, now) if params.get("invoice_now") else None
    standing.end(books, found, "cancellation_requested", params.get("cancellation_details"))
    if made is not None:
        cycle.charge_now(books, made)
    void_first(books, found)


def void_first(books: Books, subscription: Json) -> None:
    """A subscription that ended before it ran is not paid any more."""
    for invoice in books.all("invoice", subscription["customer"], billing_reason="subscription_create"):
        owner = standing.of_invoice(books, invoice)
        if owner and owner["id"] == subscription["id"] and invoice["status"] == "open":
            invoices.void(books, invoice)
