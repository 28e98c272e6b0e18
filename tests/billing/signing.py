"""Events as Stripe sends them, signed."""

import hashlib
import hmac
import json
import time
from typing import Any
from uuid import uuid4

from django.conf import settings
from django.test import Client

SECRET = "whsec_of_the_tests"
PATH = "/webhooks/stripe"


def make_event(kind: str = "customer", object_id: str = "", **changes: Any) -> dict[str, Any]:
    """An event about an object, with an id of its own."""
    return {
        "id": f"evt_{uuid4().hex}",
        "object": "event",
        "type": f"{kind}.updated",
        "created": int(time.time()),
        "livemode": False,
        "api_version": settings.STRIPE_API_VERSION,
        "data": {"object": {"id": object_id or f"x_{uuid4().hex}", "object": kind}},
    } | changes


def signature(body: bytes, secret: str = SECRET, at: float | None = None) -> str:
    """The header that Stripe would send."""
    moment = int(time.time() if at is None else at)
    digest = hmac.new(secret.encode(), f"{moment}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={moment},v1={digest}"


def post(event: dict[str, Any] | bytes, *, secret: str = SECRET, at: float | None = None) -> Any:
    """The answer to an event that is signed with the secret, at the moment."""
    body = event if isinstance(event, bytes) else json.dumps(event).encode()
    header = signature(body, secret, at)
    return Client().post(PATH, body, content_type="application/json", headers={"Stripe-Signature": header})
