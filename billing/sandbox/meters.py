"""Billing meters: usage events, each identifier once, and their sums."""

import time
from decimal import Decimal, InvalidOperation

from django.db.models import Count, Max, QuerySet, Sum

from billing.sandbox import lists
from billing.sandbox.ids import new_id, token
from billing.sandbox.models import MeteredEvent
from billing.sandbox.periods import DAY
from billing.sandbox.refusals import Json, Refusal
from billing.sandbox.routing import answers
from billing.sandbox.store import Books, listing, take

OLDEST, NEWEST = 35 * DAY, 300  # how far an event may be in the past and in the future
LARGEST = Decimal(10) ** 18
WINDOWS = {"hour": 3600, "day": DAY}


@answers("POST /v1/billing/meters")
def create(books: Books, params: Json) -> Json:
    """Add a meter. Raises Refusal where another active one has its event name."""
    if _find(books, params["event_name"]):
        raise Refusal(f"A meter with the event name {params['event_name']} exists already.", param="event_name")
    made = books.new("billing.meter", params, status="active")
    made |= {"updated": made["created"], "default_aggregation": params["default_aggregation"]}
    mapping, value = params.get("customer_mapping"), params.get("value_settings")
    made["customer_mapping"] = mapping or {"type": "by_id", "event_payload_key": "stripe_customer_id"}
    made["value_settings"] = value or {"event_payload_key": "value"}
    made["status_transitions"] = {"deactivated_at": None}
    return books.add(made, "billing.meter.created")


def _find(books: Books, event_name: str) -> Json | None:
    found = [one for one in books.all("billing.meter", event_name=event_name) if one["status"] == "active"]
    return found[0] if found else None


@answers("POST /v1/billing/meters/{id}")
def update(books: Books, params: Json, id: str) -> Json:  # noqa: A002  # the contract's own name
    """Change a meter's name: nothing else of it can change."""
    found = books.get("billing.meter", id)
    take(found, params)
    found["updated"] = books.now()
    return books.save(found, "billing.meter.updated")


@answers("GET /v1/billing/meters/{id}")
def retrieve(books: Books, params: Json, id: str) -> Json:  # noqa: A002
    """One meter."""
    return books.get("billing.meter", id)


@answers("GET /v1/billing/meters")
def list_all(books: Books, params: Json) -> Json:
    """The meters, newest first."""
    return lists.page(books, "billing.meter", params, "/v1/billing/meters")


@answers("POST /v1/billing/meters/{id}/deactivate")
def deactivate(books: Books, params: Json, id: str) -> Json:  # noqa: A002
    """Let a meter take no more events."""
    found = books.get("billing.meter", id)
    found |= {"status": "inactive", "status_transitions": {"deactivated_at": books.now()}}
    return books.save(found, "billing.meter.deactivated")


@answers("POST /v1/billing/meters/{id}/reactivate")
def reactivate(books: Books, params: Json, id: str) -> Json:  # noqa: A002
    """Let a meter take events again."""
    found = books.get("billing.meter", id)
    found |= {"status": "active", "status_transitions": {"deactivated_at": None}}
    return books.save(found, "billing.meter.reactivated")


@answers("POST /v1/billing/meter_events")
def report(books: Books, params: Json) -> Json:
    """Take one event. Raises Refusal for an identifier of the last day, for a time too old or too far ahead."""
    meter = _find(books, params["event_name"])
    if meter is None:
        raise Refusal(f"No active meter found for the event name {params['event_name']}.", code="no_meter_found")
    payload = params["payload"]
    customer = payload.get(meter["customer_mapping"]["event_payload_key"], "")
    books.get("customer", customer, "payload[stripe_customer_id]")
    value, now = _value(meter, payload), books.now(customer)
    at, identifier = params.get("timestamp", now), params.get("identifier") or token(24)
    if at < now - OLDEST:
        raise Refusal("The timestamp is older than 35 days.", code="timestamp_too_far_in_past", param="timestamp")
    if at > now + NEWEST:
        raise Refusal("The timestamp is in the future.", code="timestamp_in_future", param="timestamp")
    received = int(time.time())
    known = MeteredEvent.objects.filter(account=books.account, identifier=identifier, received_at__gt=received - DAY)
    if known.exists():
        raise Refusal(
            f"An event already exists with identifier {identifier}.", code="duplicate_meter_event", param="identifier"
        )
    MeteredEvent.objects.create(
        account=books.account,
        event_name=params["event_name"],
        customer=customer,
        identifier=identifier,
        value=value,
        occurred_at=at,
        received_at=received,
    )
    made = books.new("billing.meter_event", event_name=params["event_name"], identifier=identifier)
    return made | {"payload": payload, "timestamp": at, "created": received}


def _value(meter: Json, payload: Json) -> Decimal:
    if meter["default_aggregation"]["formula"] == "count":
        return Decimal(1)
    try:
        value = Decimal(payload.get(meter["value_settings"]["event_payload_key"], ""))
    except InvalidOperation:
        value = Decimal("NaN")
    if not value.is_finite() or abs(value) >= LARGEST:
        raise Refusal(
            "The value of a meter event must be a number.", code="meter_event_invalid_value", param="payload[value]"
        )
    return value


@answers("POST /v1/billing/meter_event_adjustments")
def adjust(books: Books, params: Json) -> Json:
    """Take back an event of the last day by its identifier."""
    identifier = params.get("cancel", {}).get("identifier", "")
    found = MeteredEvent.objects.filter(
        account=books.account, event_name=params["event_name"], identifier=identifier, received_at__gt=time.time() - DAY
    )
    if not found.delete()[0]:
        raise Refusal(
            f"No event of the last 24 hours has the identifier {identifier}.", code="resource_missing", param="cancel"
        )
    made = books.new(
        "billing.meter_event_adjustment", event_name=params["event_name"], status="complete", type="cancel"
    )
    return made | {"cancel": {"identifier": identifier}}


@answers("GET /v1/billing/meters/{id}/event_summaries")
def summaries(books: Books, params: Json, id: str) -> Json:  # noqa: A002
    """What a customer used between two minutes, in hours, days or all at once; newest first."""
    meter = books.get("billing.meter", id)
    start, end = params["start_time"], params["end_time"]
    if start % 60 or end % 60 or start >= end:
        raise Refusal("start_time and end_time must be whole minutes, in order.", param="start_time")
    step = WINDOWS.get(params.get("value_grouping_window", ""), end - start)
    found = []
    for at in range(start, end, step):
        until = min(at + step, end)
        value = total(books, meter, params["customer"], at, until)
        if value or step == end - start:
            made: Json = {"id": f"mtrusg_{new_id('billing.meter')[4:]}", "object": "billing.meter_event_summary"}
            made |= {"aggregated_value": float(value), "start_time": at, "end_time": until}
            found.append(made | {"livemode": False, "meter": id})
    found.reverse()
    return lists.paged(found, params, f"/v1/billing/meters/{id}/event_summaries") if found else listing([], "")


def total(books: Books, meter: Json, customer: str, start: int, end: int) -> Decimal:
    """What the meter counted for the customer in [start, end): by its formula, of each time window the newest."""
    rows = MeteredEvent.objects.filter(
        account=books.account,
        event_name=meter["event_name"],
        customer=customer,
        occurred_at__gte=start,
        occurred_at__lt=end,
    )
    if meter["event_time_window"]:
        return _newest_of_windows(rows, WINDOWS[meter["event_time_window"]])
    formula = meter["default_aggregation"]["formula"]
    if formula == "last":
        newest = rows.order_by("-occurred_at", "-id").first()
        return newest.value if newest else Decimal(0)
    aggregate = {"sum": Sum("value"), "count": Count("id"), "max": Max("value")}[formula]
    return Decimal(rows.aggregate(found=aggregate)["found"] or 0)


def _newest_of_windows(rows: QuerySet[MeteredEvent], window: int) -> Decimal:
    newest = {row.occurred_at // window: row.value for row in rows.order_by("id")}
    return sum(newest.values(), Decimal(0))
