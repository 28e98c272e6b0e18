"""Delivers events as signed webhooks over real HTTP: at least once, tried again for three days."""

import hashlib
import hmac
import json
import logging
import time
from datetime import datetime, timedelta

import httpx
from django.db import transaction
from django.utils import timezone

from billing.sandbox.models import Answer, Delivery, Object
from billing.sandbox.store import render

log = logging.getLogger("sandbox")
TIMEOUT = 10.0  # seconds
FIRST_PAUSE, LONGEST_PAUSE = 5, 3600  # seconds between tries: doubled each time
GIVES_UP_AFTER = timedelta(days=3)
KEPT = timedelta(days=1)


def signature(secret: str, body: str, at: int) -> str:
    """The value of the Stripe-Signature header: `t=…,v1=…`."""
    signed = hmac.new(secret.encode(), f"{at}.{body}".encode(), hashlib.sha256).hexdigest()
    return f"t={at},v1={signed}"


def deliver() -> int:
    """Try everything that is due, oldest first; how much arrived. Several workers may do this at once."""
    arrived = 0
    with httpx.Client(timeout=TIMEOUT, follow_redirects=False) as client:
        while claimed := _claim():
            arrived += _send(client, claimed)
    return arrived


def _claim() -> Delivery | None:
    """The next delivery that is due, put off before it is tried: whoever is killed meanwhile loses nothing."""
    now = timezone.now()
    with transaction.atomic():
        rows = Delivery.objects.select_for_update(skip_locked=True).filter(done_at=None, due_at__lte=now)
        found = rows.order_by("id").first()
        if found is not None:
            found.attempts += 1
            found.due_at = now + _pause(found.attempts)
            found.save(update_fields=["attempts", "due_at"])
    return found


def _pause(attempts: int) -> timedelta:
    return timedelta(seconds=min(FIRST_PAUSE * 2 ** min(attempts - 1, 12), LONGEST_PAUSE) + TIMEOUT)


def _send(client: httpx.Client, sent: Delivery) -> bool:
    """Send one event. Anything but a 2xx answer is tried again later; an event that is gone is not."""
    row = Object.objects.filter(account=sent.account, stripe_id=sent.event).first()
    if row is None:
        sent.delete()
        return False
    at, body = int(time.time()), json.dumps(render(row.body))
    headers = {"Stripe-Signature": signature(sent.secret, body, at), "Content-Type": "application/json; charset=utf-8"}
    try:
        answer = client.post(sent.url, content=body, headers=headers)
        sent.last_answer, is_done = str(answer.status_code), answer.is_success
    except httpx.HTTPError as error:
        sent.last_answer, is_done = type(error).__name__, False
    if is_done:
        sent.done_at = timezone.now()
        _count_down(sent)
    elif datetime.fromtimestamp(row.body["created"], timezone.get_current_timezone()) < timezone.now() - GIVES_UP_AFTER:
        sent.done_at = timezone.now()
    else:
        log.info("sandbox.webhook_refused event=%s attempt=%d answer=%s", sent.event, sent.attempts, sent.last_answer)
    sent.save(update_fields=["done_at", "last_answer"])
    return is_done


def _count_down(sent: Delivery) -> None:
    with transaction.atomic():
        row = Object.objects.select_for_update().filter(account=sent.account, stripe_id=sent.event).first()
        if row is not None:
            row.body["pending_webhooks"] = max(0, row.body["pending_webhooks"] - 1)
            row.save(update_fields=["body"])


def forget_old() -> None:
    """Drop yesterday's delivered rows and the answers that no repeated request may ask for any more."""
    Delivery.objects.filter(done_at__lt=timezone.now() - KEPT).delete()
    Answer.objects.filter(created_at__lt=timezone.now() - KEPT).delete()
