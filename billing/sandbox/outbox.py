"""Writes the event of every change, and what is owed to each webhook endpoint, in the transaction of the change."""

import time
from typing import Any

from django.utils import timezone

from billing.sandbox import contract, keys
from billing.sandbox.ids import new_id
from billing.sandbox.models import Delivery, Object

Json = dict[str, Any]


def emit(account: str, name: str, shown: Json, before: Json | None) -> Json:
    """Keep the event about the object as it is shown, and owe it to every endpoint that wants it.

    `before` makes the `previous_attributes` of an update. Events are dated with the real time, whatever a clock says.
    """
    data: Json = {"object": shown}
    if before is not None:
        data["previous_attributes"] = _changed(before, shown)
    owed = endpoints(account, name)
    event: Json = {
        "id": new_id("event"),
        "object": "event",
        "api_version": contract.version(),
        "created": int(time.time()),
        "data": data,
        "livemode": False,
        "pending_webhooks": len(owed),
        "request": {"id": None, "idempotency_key": None},
        "type": name,
    }
    contract.check_object(event)
    customer = shown["id"] if shown["object"] == "customer" else shown.get("customer")
    if customer is None and isinstance(shown.get("charge"), str):  # refunds and disputes name their charge alone
        customer = (
            Object.objects.filter(account=account, stripe_id=shown["charge"]).values_list("customer", flat=True).first()
        )
    Object.objects.create(
        account=account,
        stripe_id=event["id"],
        kind="event",
        customer=customer if isinstance(customer, str) else "",
        body=event | {"_": {}},
    )
    now = timezone.now()
    Delivery.objects.bulk_create(
        Delivery(account=account, event=event["id"], url=url, secret=secret, due_at=now) for url, secret in owed
    )
    return event


def endpoints(account: str, name: str) -> list[tuple[str, str]]:
    """The address and the signing secret of each endpoint that wants events of the name."""
    own = [(keys.webhook_url(), keys.webhook_secret())] if account == keys.ACCOUNT else []
    rows = Object.objects.filter(account=account, kind="webhook_endpoint", body__status="enabled")
    return own + [
        (row.body["url"], row.body["_"]["secret"]) for row in rows if {"*", name} & set(row.body["enabled_events"])
    ]


def _changed(before: Json, after: Json) -> Json:
    """What the changed properties were; of nested objects only what changed in them."""
    found: Json = {}
    for name in before.keys() | after.keys():
        old, new = before.get(name), after.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            old = _changed(old, new)
            if old:
                found[name] = old
        elif old != new:
            found[name] = old
    return found
