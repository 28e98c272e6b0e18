"""Changes to a running subscription: items, seats, trial, anchor, end; each prorated as asked."""

from billing.sandbox import cycle, invoices, items, lists, proration, standing, subscriptions, taxes
from billing.sandbox.refusals import Json, Refusal, missing
from billing.sandbox.routing import answers
from billing.sandbox.store import Books, take

PLAIN = ("description", "metadata", "days_until_due", "collection_method", "pause_collection", "trial_settings")
OF_ALL = ("payment_behavior", "proration_behavior", "proration_date", "off_session")
NONE, LATER, NOW = "none", "create_prorations", "always_invoice"


@answers("POST /v1/subscriptions/{subscription_exposed_id}")
def update(books: Books, params: Json, subscription_exposed_id: str) -> Json:
    """Change a subscription. Raises Refusal where it has ended, or where the payment must succeed and does not."""
    found = books.get("subscription", subscription_exposed_id)
    if found["status"] in standing.OVER:
        raise Refusal("A canceled subscription can only update its cancellation_details and metadata.")
    _change_plainly(books, found, params)
    made = apply(books, found, params)
    books.save(found, "customer.subscription.updated")
    if made is not None:
        _settle(books, found, made, params)
    return books.save(found, "customer.subscription.updated")


def _change_plainly(books: Books, found: Json, params: Json) -> None:
    """Everything that costs nothing."""
    now = books.now(found["customer"])
    take(found, {name: params[name] for name in PLAIN if name in params})
    if found["pause_collection"]:
        found["pause_collection"].setdefault("resumes_at", None)
    if settings := params.get("payment_settings"):
        found["payment_settings"] |= settings
    subscriptions.put_method(books, found, params.get("default_payment_method"))
    found |= taxes.of_subscription(books, found["customer"], params)
    if "discounts" in params:
        subscriptions.put_discounts(books, found, params["discounts"] or [])
    if details := params.get("cancellation_details"):
        found["cancellation_details"] = {"comment": None, "feedback": None, "reason": None} | details
    if "cancel_at_period_end" in params:
        _set_cancel_at_period_end(found, is_on=params["cancel_at_period_end"], now=now)
    if params.get("cancel_at") == "":
        found |= {"cancel_at": None, "canceled_at": None, "cancel_at_period_end": False}
    elif "cancel_at" in params:
        subscriptions.set_cancel_at(found, params["cancel_at"], now)


def _set_cancel_at_period_end(found: Json, *, is_on: bool, now: int) -> None:
    end = max(item["current_period_end"] for item in found["items"]["data"])
    found |= {"cancel_at_period_end": is_on, "cancel_at": end if is_on else None, "canceled_at": now if is_on else None}
    details = {"comment": None, "feedback": None} | (found["cancellation_details"] or {})
    found["cancellation_details"] = details | {"reason": "cancellation_requested" if is_on else None}


def apply(books: Books, found: Json, params: Json) -> Json | None:
    """Change items, trial and anchor; the draft to be paid at once, or None where nothing is."""
    now = books.now(found["customer"])
    at, behavior = params.get("proration_date", now), params.get("proration_behavior", LATER)
    starts = [item["current_period_start"] for item in found["items"]["data"]]
    if not max(starts) <= at < subscriptions.period_end(found) and "proration_date" in params:
        raise Refusal("proration_date must be within the current period.", param="proration_date")
    if anew := _begins_anew(found, params, now):
        return anew_from(books, found, params, behavior, *anew)
    moved = _change_items(books, found, params.get("items") or [], at, behavior)
    return _invoice_now(books, found, moved) if moved or behavior == NOW else None


def _invoice_now(books: Books, found: Json, moved: list[Json]) -> Json | None:
    now = books.now(found["customer"])
    rows = [items.row(books, found, item) for item in moved if "quantity" in item]
    waits = cycle.has_waiting(books, found)
    if not rows and not waits:
        return None
    return cycle.invoice(books, found, rows, reason="subscription_update", period=(now, now))


def _begins_anew(found: Json, params: Json, now: int) -> tuple[int, int | None] | None:
    """Where the periods begin again: from which anchor, and until when the trial lasts (None: no trial)."""
    end = params.get("trial_end")
    if end == "now" and found["status"] == "trialing":
        return now, None
    if isinstance(end, int) and end != found["trial_end"]:
        if end <= now:
            raise Refusal("A trial ends in the future.", param="trial_end")
        return end, end
    return (now, None) if params.get("billing_cycle_anchor") == "now" else None


def anew_from(
    books: Books, found: Json, params: Json, behavior: str, anchor: int, trial_end: int | None
) -> Json | None:
    """Give back the old periods and begin new ones now, at the anchor, on trial where that is asked for."""
    now = books.now(found["customer"])
    for item in found["items"]["data"]:
        if "quantity" in item and behavior != NONE:
            proration.credit(books, found, item, now)
        elif "quantity" not in item:
            proration.used(books, found, item, now)
    _change_items(books, found, params.get("items") or [], now, NONE)
    found["billing_cycle_anchor"] = anchor
    for item in found["items"]["data"]:
        items.put_period(item, anchor, now)
        item["_"]["rate"] = "0"
        if trial_end:
            item["current_period_end"] = trial_end
    found["_"] |= {"upcoming_told": False, "trial_end_told": False}
    if trial_end:
        found |= {"status": "trialing", "trial_start": found["trial_start"] or now, "trial_end": trial_end}
        return None
    if found["status"] == "trialing":
        found["trial_end"] = now
        if not cycle.leave_trial(books, found):
            return None
    return _invoice_now(books, found, found["items"]["data"])


def _change_items(books: Books, found: Json, wanted: list[Json], at: int, behavior: str) -> list[Json]:
    """Apply the items' parameters; the items whose period begins anew, because their interval changed."""
    data: list[Json] = found["items"]["data"]
    moved = []
    for given in wanted:
        item = _known(data, given)
        if item is None:
            moved += _add_item(books, found, given, at, behavior)
        elif given.get("deleted"):
            _leave(books, found, item, at, NONE if given.get("clear_usage") else behavior)
            data.remove(item)
        elif _changes(item, given):
            moved += _change_item(books, found, item, given, at, behavior)
        if item is not None and isinstance(given.get("metadata"), dict):
            item["metadata"] |= given["metadata"]
    if not data:
        raise Refusal("A subscription must have at least one active item.", param="items")
    return moved


def _known(data: list[Json], given: Json) -> Json | None:
    if "id" not in given:
        return None
    for item in data:
        if item["id"] == given["id"]:
            return item
    raise Refusal(f"No such subscription item: '{given['id']}'", code="resource_missing", param="items[0][id]")


def _changes(item: Json, given: Json) -> bool:
    is_other = given.get("price", item["price"]["id"]) != item["price"]["id"] or "price_data" in given
    return is_other or given.get("quantity", item.get("quantity")) != item.get("quantity")


def _add_item(books: Books, found: Json, given: Json, at: int, behavior: str) -> list[Json]:
    item = items.make(books, found, given, found["billing_cycle_anchor"], at)
    if item["price"]["currency"] != found["currency"]:
        raise Refusal("All prices on a subscription must have the same currency.", param="items")
    if any(one["price"]["id"] == item["price"]["id"] for one in found["items"]["data"]):
        raise Refusal("Cannot add multiple subscription items with the same price.", param="items")
    if found["status"] == "trialing":
        item["current_period_end"] = found["trial_end"]
    elif behavior != NONE and "quantity" in item:
        proration.debit(books, found, item, at)
    found["items"]["data"].append(item)
    return []


def _leave(books: Books, found: Json, item: Json, at: int, behavior: str) -> None:
    """Give back an item's unused time, or bill what its meter has counted."""
    if behavior != NONE and "quantity" in item:
        proration.credit(books, found, item, at)
    elif behavior != NONE:
        proration.used(books, found, item, at)


def _change_item(books: Books, found: Json, item: Json, given: Json, at: int, behavior: str) -> list[Json]:
    price = items.price_of(books, given) if {"price", "price_data"} & given.keys() else item["price"]
    if price["currency"] != found["currency"]:
        raise Refusal("All prices on a subscription must have the same currency.", param="items")
    is_same, is_trial = items.has_interval(item, price), found["status"] == "trialing"
    was_metered = "quantity" not in item
    if not is_trial and (not was_metered or not is_same):
        _leave(books, found, item, at, behavior)
    items.put_price(item, price, given.get("quantity"))
    if is_trial:
        return []
    if is_same:
        if behavior != NONE and "quantity" in item:
            proration.debit(books, found, item, at)
        return []
    items.put_period(item, at, at)
    if len(found["items"]["data"]) == 1:
        found["billing_cycle_anchor"] = at
    return [item]


def _settle(books: Books, found: Json, made: Json, params: Json) -> None:
    """Take the payment of a change now, as `payment_behavior` says."""
    behavior = params.get("payment_behavior", "allow_incomplete")
    if behavior == "pending_if_incomplete":
        raise Refusal("The sandbox does not keep pending updates: use error_if_incomplete.", param="payment_behavior")
    if behavior == "default_incomplete":
        invoices.finalize(books, made)
        return
    refusal = cycle.charge_now(books, made, off_session=params.get("off_session", False))
    if behavior == "error_if_incomplete" and made["status"] == "open":
        refusal = refusal or Refusal("The payment requires additional user action.", status=402, kind="card_error")
        refusal.keeps = False
        raise refusal


@answers("POST /v1/subscriptions/{subscription}/resume")
def resume(books: Books, params: Json, subscription: str) -> Json:
    """Start a paused subscription again, with a new period from now."""
    found = books.get("subscription", subscription)
    if found["status"] != "paused":
        raise Refusal("You can only resume a paused subscription.")
    found["status"] = "active"
    made = anew_from(books, found, {}, NONE, books.now(found["customer"]), None)
    books.save(found, "customer.subscription.resumed")
    if made is not None:
        _settle(books, found, made, {})
    return books.save(found, "customer.subscription.updated")


@answers("POST /v1/subscription_items")
def add_item(books: Books, params: Json) -> Json:
    """Add an item to a subscription."""
    wanted = params.pop("subscription")
    before = {item["id"] for item in books.get("subscription", wanted, "subscription")["items"]["data"]}
    found = update(books, _for_item(params), wanted)
    made: Json = next(item for item in found["items"]["data"] if item["id"] not in before)
    return made


@answers("POST /v1/subscription_items/{item}")
def update_item(books: Books, params: Json, item: str) -> Json:
    """Change an item, as its seats."""
    owner = _owner(books, item)
    return _item(update(books, _for_item(params | {"id": item}), owner["id"]), item)


@answers("DELETE /v1/subscription_items/{item}")
def delete_item(books: Books, params: Json, item: str) -> Json:
    """Take an item away."""
    owner = _owner(books, item)
    update(books, _for_item(params | {"id": item, "deleted": True}), owner["id"])
    return {"id": item, "object": "subscription_item", "deleted": True}


@answers("GET /v1/subscription_items/{item}")
def retrieve_item(books: Books, params: Json, item: str) -> Json:
    """One item."""
    return _item(_owner(books, item), item)


@answers("GET /v1/subscription_items")
def list_items(books: Books, params: Json) -> Json:
    """The items of a subscription."""
    found = books.get("subscription", params["subscription"], "subscription")
    return lists.paged(found["items"]["data"], params, "/v1/subscription_items")


def _for_item(params: Json) -> Json:
    """An item's parameters as those of its subscription's update."""
    of_all = {name: params.pop(name) for name in OF_ALL if name in params}
    return of_all | {"items": [params]}


def _owner(books: Books, item: str) -> Json:
    found = books.all("subscription", items__data__contains=[{"id": item}])
    if not found:
        raise missing("subscription_item", item)
    return found[0]


def _item(subscription: Json, wanted: str) -> Json:
    found: Json = next(item for item in subscription["items"]["data"] if item["id"] == wanted)
    return found
