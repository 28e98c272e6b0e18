"""Subscription schedules: phases that change a subscription when their time comes, as a downgrade at renewal."""

from typing import Any

from billing.sandbox import changes, items, lists, standing, subscriptions
from billing.sandbox.periods import DAY, period_end
from billing.sandbox.refusals import Json, Refusal
from billing.sandbox.routing import answers
from billing.sandbox.store import DUE, Books, take

RUNNING = ("active", "not_started")
EXPIRING = 7 * DAY  # how long before its end a schedule says so


def due(schedule: Json) -> int | None:
    """When the next phase begins, the last one ends, or a week before that."""
    if schedule["status"] == "not_started":
        return int(schedule["phases"][0]["start_date"])
    if schedule["status"] != "active":
        return None
    end, is_told = int(schedule["current_phase"]["end_date"]), schedule["_"].get("expiring_told")
    is_last = end == schedule["phases"][-1]["end_date"]
    return end - EXPIRING if is_last and not is_told else end


DUE["subscription_schedule"] = due


@answers("POST /v1/subscription_schedules")
def create(books: Books, params: Json) -> Json:
    """Make a schedule for a subscription, or one that begins a subscription of its own."""
    if wanted := params.get("from_subscription"):
        return _from_subscription(books, books.get("subscription", wanted, "from_subscription"))
    if not params.get("phases") or "customer" not in params:
        raise Refusal("Missing required param: phases.", code="parameter_missing", param="phases")
    customer = books.get("customer", params["customer"], "customer")
    start = params.get("start_date", "now")
    made = _blank(books, customer, params)
    made["phases"] = _phases(books, params["phases"], books.now(customer["id"]) if start == "now" else start)
    books.add(made, "subscription_schedule.created")
    if start == "now":
        _begin(books, made)
    return made


def _blank(books: Books, customer: Json, params: Json) -> Json:
    made = books.new("subscription_schedule", customer=customer["id"], status="not_started")
    made |= {"created": books.now(customer["id"]), "test_clock": customer["test_clock"], "phases": []}
    made |= {"metadata": params.get("metadata") or {}, "end_behavior": params.get("end_behavior", "release")}
    made["billing_mode"] = {"flexible": None, "type": "flexible"}
    made["default_settings"] = {
        "application_fee_percent": None,
        "automatic_tax": {"disabled_reason": None, "enabled": False, "liability": None},
        "billing_cycle_anchor": "automatic",
        "billing_thresholds": None,
        "collection_method": "charge_automatically",
        "default_payment_method": None,
        "description": None,
        "invoice_settings": {"account_tax_ids": None, "days_until_due": None, "issuer": {"type": "self"}},
        "on_behalf_of": None,
        "transfer_data": None,
    }
    return made


def _from_subscription(books: Books, subscription: Json) -> Json:
    if subscription["schedule"]:
        raise Refusal("The subscription is already attached to a schedule.", param="from_subscription")
    made = _blank(books, books.get("customer", subscription["customer"]), {})
    data = subscription["items"]["data"]
    given = [{"price": item["price"]["id"], "quantity": item.get("quantity")} for item in data]
    start = max(item["current_period_start"] for item in data)
    phase = {"items": given, "start_date": start, "end_date": subscriptions.period_end(subscription)}
    made["phases"] = _phases(books, [phase], start)
    made |= {"status": "active", "subscription": subscription["id"]}
    made["current_phase"] = {name: made["phases"][0][name] for name in ("start_date", "end_date")}
    books.add(made, "subscription_schedule.created")
    subscription["schedule"] = made["id"]
    books.save(subscription, "customer.subscription.updated")
    return made


def _phases(books: Books, given: list[Json], start: int) -> list[Json]:
    """The phases one after the other. Raises Refusal where they overlap or have no items."""
    found: list[Json] = []
    for one in given:
        asked = one.get("start_date", start)
        begins = start if asked == "now" else asked
        if found and begins != start:
            raise Refusal("Each phase begins where the one before it ends.", param="phases")
        phase = _phase(books, one, begins)
        if phase["end_date"] <= begins:
            raise Refusal("A phase ends after it begins.", param="phases")
        start = phase["end_date"]
        found.append(phase)
    return found


def _phase(books: Books, given: Json, start: int) -> Json:
    wanted = [(items.price_of(books, one), one) for one in given.get("items") or []]
    if not wanted:
        raise Refusal("A phase has items.", param="phases[items]", code="parameter_missing")
    first = wanted[0][0]["recurring"]
    span = given.get("duration") or {"interval": first["interval"], "interval_count": first["interval_count"]}
    end = given.get("end_date") or period_end(start, span["interval"], span.get("interval_count", 1), 1)
    phase: Json = {"add_invoice_items": [], "application_fee_percent": None, "billing_cycle_anchor": None}
    phase |= {"billing_thresholds": None, "collection_method": None, "currency": wanted[0][0]["currency"]}
    phase |= {"default_payment_method": None, "default_tax_rates": [], "description": given.get("description")}
    phase |= {"discounts": [], "end_date": end, "start_date": start, "invoice_settings": None, "on_behalf_of": None}
    phase |= {"metadata": given.get("metadata") or {}, "transfer_data": None, "trial_end": given.get("trial_end")}
    phase["proration_behavior"] = given.get("proration_behavior", changes.LATER)
    phase["items"] = [_phase_item(price, one) for price, one in wanted]
    return phase


def _phase_item(price: Json, given: Json) -> Json:
    found: Json = {
        "billing_thresholds": None,
        "discounts": [],
        "metadata": given.get("metadata") or {},
        "tax_rates": [],
    }
    quantity: Any = given.get("quantity")
    is_metered = price["recurring"]["usage_type"] == "metered"
    return found | {"price": price["id"]} | ({} if is_metered else {"quantity": 1 if quantity is None else quantity})


@answers("POST /v1/subscription_schedules/{schedule}")
def update(books: Books, params: Json, schedule: str) -> Json:
    """Change a running schedule; the phases given are all that it has, from the current one on."""
    found = _running(books, schedule)
    take(found, {name: params[name] for name in ("metadata", "end_behavior") if name in params})
    if given := params.get("phases"):
        current = found["current_phase"]
        start = current["start_date"] if current else found["phases"][0]["start_date"]
        found["phases"] = _phases(books, given, start)
        now = books.now(found["customer"])
        for phase in found["phases"] if current else []:
            if phase["start_date"] <= now < phase["end_date"]:
                found["current_phase"] = {name: phase[name] for name in ("start_date", "end_date")}
                _apply(books, found, phase)
    return books.save(found, "subscription_schedule.updated")


@answers("POST /v1/subscription_schedules/{schedule}/release")
def release(books: Books, params: Json, schedule: str) -> Json:
    """Let go of the subscription, which goes on as it is."""
    found, now = _running(books, schedule), books.now(books.get("subscription_schedule", schedule)["customer"])
    found |= {"status": "released", "released_at": now, "released_subscription": found["subscription"]}
    _detach(books, found)
    return books.save(found, "subscription_schedule.released")


@answers("POST /v1/subscription_schedules/{schedule}/cancel")
def cancel(books: Books, params: Json, schedule: str) -> Json:
    """End the schedule and its subscription."""
    found = _running(books, schedule)
    if found["subscription"]:
        standing.end(books, books.get("subscription", found["subscription"]), "cancellation_requested")
        return found
    found |= {"status": "canceled", "canceled_at": books.now(found["customer"])}
    return books.save(found, "subscription_schedule.canceled")


@answers("GET /v1/subscription_schedules/{schedule}")
def retrieve(books: Books, params: Json, schedule: str) -> Json:
    """One schedule."""
    return books.get("subscription_schedule", schedule)


@answers("GET /v1/subscription_schedules")
def list_all(books: Books, params: Json) -> Json:
    """The schedules, newest first."""
    return lists.page(books, "subscription_schedule", params, "/v1/subscription_schedules")


def _running(books: Books, wanted: str) -> Json:
    found = books.get("subscription_schedule", wanted)
    if found["status"] not in RUNNING:
        raise Refusal(f"The schedule is {found['status']} and cannot change.")
    return found


def _detach(books: Books, schedule: Json) -> None:
    schedule["current_phase"] = None
    if schedule["subscription"]:
        subscription = books.get("subscription", schedule["subscription"])
        subscription["schedule"] = None
        books.save(subscription, "customer.subscription.updated")
        schedule["subscription"] = None


def _begin(books: Books, schedule: Json) -> None:
    """Begin the subscription of a schedule that has its own."""
    phase = schedule["phases"][0]
    given = [
        {name: item[name] for name in ("price", "quantity", "metadata") if name in item} for item in phase["items"]
    ]
    made = subscriptions.create(books, {"customer": schedule["customer"], "items": given}, pays_now=False)
    made["schedule"] = schedule["id"]
    books.save(made, "customer.subscription.updated")
    schedule |= {"status": "active", "subscription": made["id"]}
    schedule["current_phase"] = {name: phase[name] for name in ("start_date", "end_date")}
    books.save(schedule, "subscription_schedule.updated")


def advance(books: Books, schedule: Json) -> None:
    """Do what is due: begin, go into the next phase, or end as `end_behavior` says."""
    if schedule["status"] == "not_started":
        _begin(books, schedule)
        return
    at = schedule["current_phase"]["end_date"]
    if books.now(schedule["customer"]) < at:
        schedule["_"]["expiring_told"] = True
        books.save(schedule)
        books.tell_of(schedule, "subscription_schedule.expiring")
        return
    following = [phase for phase in schedule["phases"] if phase["start_date"] >= at]
    if following:
        schedule["current_phase"] = {name: following[0][name] for name in ("start_date", "end_date")}
        _apply(books, schedule, following[0])
        books.save(schedule, "subscription_schedule.updated")
    elif schedule["end_behavior"] == "cancel":
        subscription = books.get("subscription", schedule["subscription"])
        schedule |= {"status": "completed", "completed_at": at, "current_phase": None}
        subscription["schedule"] = None
        books.save(schedule, "subscription_schedule.completed")
        standing.end(books, subscription, "cancellation_requested")
    else:
        release(books, {}, schedule["id"])


def _apply(books: Books, schedule: Json, phase: Json) -> None:
    """Give the subscription the phase's items: in place where it can be, so that nothing is billed twice."""
    subscription = books.get("subscription", schedule["subscription"])
    wanted = [dict(item) for item in phase["items"]]
    old = list(subscription["items"]["data"])
    given: list[Json] = []
    for is_same_price in (True, False):
        for item in list(old):
            twin = next((one for one in wanted if _fits(books, item, one, is_same_price)), None)
            if twin is not None:
                wanted.remove(twin)
                old.remove(item)
                given.append({"id": item["id"], **_named(twin)})
    given += [{"id": item["id"], "deleted": True} for item in old] + [_named(one) for one in wanted]
    changes.update(books, {"items": given, "proration_behavior": phase["proration_behavior"]}, subscription["id"])


def _fits(books: Books, item: Json, wanted: Json, is_same_price: bool) -> bool:
    if is_same_price:
        return bool(item["price"]["id"] == wanted["price"])
    return ("quantity" in item) == ("quantity" in wanted) and items.has_interval(
        item, books.get("price", wanted["price"])
    )


def _named(item: Json) -> Json:
    return {name: item[name] for name in ("price", "quantity") if name in item}
