"""Tells callers with every answer what it was counted as, and what is left of the allowance that it drew on."""

from django.http import HttpRequest

from billing.quotas.services import Receipt

EVENT, METER, QUANTITY, REMAINING = "X-Usage-Event", "X-Usage-Meter", "X-Usage-Quantity", "X-Quota-Remaining"
HEADERS = {
    EVENT: "The id of the usage event: the same in the usage API and in an invoice's explanation.",
    METER: "What was counted.",
    QUANTITY: "How much of it.",
    REMAINING: "What is left of the operations, for all keys; absent where nothing limits them.",
}
NUMBERS = frozenset({QUANTITY, REMAINING})


def note(request: HttpRequest, receipt: Receipt) -> None:
    """Remember a receipt until the answer goes out; a batch of MCP messages has several."""
    request.__dict__.setdefault("api_receipts", []).append(receipt)


def headers(request: HttpRequest) -> list[tuple[str, str]]:
    """The receipts for the answer: the values of several stand in order, as HTTP lists do."""
    receipts: list[Receipt] = request.__dict__.get("api_receipts", [])
    if not receipts:
        return []
    if len(receipts) == 1:
        [one] = receipts
        told = [(EVENT, str(one.event_id)), (METER, one.meter.value), (QUANTITY, str(one.quantity))]
    else:
        told = [
            (EVENT, ", ".join(str(one.event_id) for one in receipts)),
            (METER, ", ".join(one.meter.value for one in receipts)),
            (QUANTITY, ", ".join(str(one.quantity) for one in receipts)),
        ]
    remaining = next((one.remaining for one in reversed(receipts) if one.remaining is not None), None)
    if remaining is not None:
        told.append((REMAINING, str(remaining)))
    return told
