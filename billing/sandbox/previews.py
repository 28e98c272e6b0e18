"""Previews of invoices: the very change is made, its invoice is kept, and everything else is taken back."""

from billing.sandbox import changes, cycle, invoice_items, invoices, schedules, subscriptions, taxes
from billing.sandbox.ids import token
from billing.sandbox.refusals import Json, Refusal
from billing.sandbox.routing import answers
from billing.sandbox.store import Books

TAXES = ("automatic_tax",)
OF_UPDATE = (
    "items",
    "proration_behavior",
    "proration_date",
    "trial_end",
    "billing_cycle_anchor",
    "cancel_at_period_end",
    "cancel_at",
)


@answers("POST /v1/invoices/create_preview")
def create(books: Books, params: Json) -> Json:
    """The next invoice: of a subscription, of a change to it, or of a subscription that is not there yet.

    A change that is invoiced at once shows that invoice; any other the renewal, with the prorations that wait for it.
    """
    details = params.get("subscription_details") or {}
    with books.rehearsal() as stage:
        wanted = params.get("subscription")
        if schedule := params.get("schedule"):
            wanted = stage.get("subscription_schedule", schedule, "schedule")["subscription"]
        for extra in params.get("invoice_items") or []:
            customer = params.get("customer") or stage.get("subscription", wanted or "", "subscription")["customer"]
            invoice_items.create(stage, dict(extra) | {"customer": customer})
        if wanted:
            found = _changed(stage, stage.get("subscription", wanted, "subscription"), params, details)
        else:
            found = _new(stage, params, details)
    return _shown(found)


def _changed(stage: Books, subscription: Json, params: Json, details: Json) -> Json:
    if subscription["status"] in {"canceled", "incomplete_expired"}:
        raise Refusal("No upcoming invoices for customer", code="invoice_upcoming_none", status=404)
    subscription |= taxes.of_subscription(stage, subscription["customer"], {n: params[n] for n in TAXES if n in params})
    if "discounts" in params:
        subscriptions.put_discounts(stage, subscription, params["discounts"] or [])
    if details.get("cancel_now"):
        subscriptions.end_now(
            stage, subscription, {"invoice_now": True, "prorate": details.get("proration_behavior") != "none"}
        )
        return stage.get("invoice", subscription["latest_invoice"])
    change = {name: details[name] for name in OF_UPDATE if name in details}
    if {"cancel_at_period_end", "cancel_at"} & change.keys():
        changes.update(stage, change, subscription["id"])
        change = {}
    made = changes.apply(stage, subscription, change)
    return made if made is not None else upcoming(stage, subscription, is_on_stage=True)


def _new(stage: Books, params: Json, details: Json) -> Json:
    customer = params.get("customer")
    if customer is None or not details.get("items"):
        raise Refusal(
            "You must pass a subscription, or a customer and items.", param="subscription", code="parameter_missing"
        )
    given: Json = {
        name: details[name]
        for name in ("items", "trial_end", "billing_cycle_anchor", "proration_behavior")
        if name in details
    }
    given |= {"customer": customer, "payment_behavior": "default_incomplete"}
    given |= {name: params[name] for name in ("discounts", "automatic_tax") if params.get(name)}
    made = subscriptions.create(stage, given)
    return stage.get("invoice", made["latest_invoice"])


def upcoming(books: Books, subscription: Json, *, is_on_stage: bool = False) -> Json:
    """The invoice of the subscription's next renewal, as it would be now."""
    if is_on_stage:
        return _renewal(books, subscription)
    with books.rehearsal() as stage:
        found = _renewal(stage, stage.get("subscription", subscription["id"]))
    return _shown(found)


def _renewal(stage: Books, subscription: Json) -> Json:
    end = subscriptions.period_end(subscription)
    if subscription["cancel_at"] and subscription["cancel_at"] <= end:
        made = cycle.last_usage(stage, subscription, end)
        if made is None:
            raise Refusal("No upcoming invoices for customer", code="invoice_upcoming_none", status=404)
        return made
    stage.at = end
    if subscription["schedule"]:
        schedule = stage.get("subscription_schedule", subscription["schedule"])
        if schedules.due(schedule) == end:
            schedules.advance(stage, schedule)
            if subscriptions.period_end(subscription) > end:
                return stage.get("invoice", subscription["latest_invoice"])
    subscription["status"] = "active"
    made = cycle.renew(stage, subscription, end)
    invoices.recompute(stage, made)
    return made


def _shown(invoice: Json) -> Json:
    """A preview has an id that leads nowhere."""
    return invoice | {
        "id": f"upcoming_in_1{token(23)}",
        "number": None,
        "hosted_invoice_url": None,
        "invoice_pdf": None,
    }
