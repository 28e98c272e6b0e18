"""Takes Stripe's events at /webhooks/stripe: verified, stored once, answered at once; workers do the rest."""

import logging
from typing import Any

import orjson
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from billing.selectors.inbox import customer_in, owners
from billing.services import inbox
from billing.stripe_client import is_signed
from capsule_cloud.lib.jobs import enqueue
from tenancy.audit import actions
from tenancy.audit.attempts.services import attempt
from tenancy.audit.services import Target

LARGEST_BODY = 1_000_000
log = logging.getLogger("billing")


class Refused(Exception):
    """The event is not for us; `str()` says why. Nothing of it is stored."""

    def __init__(self, reason: str, status: int = 400) -> None:
        super().__init__(reason)
        self.status = status


@csrf_exempt  # the signature says who it is
@require_POST
def stripe(request: HttpRequest) -> HttpResponse:
    """Answer 200 once the event is stored; 400 or 413 with the reason, and nothing stored, when it is not for us."""
    try:
        is_new = inbox.receive(_event(request))
    except Refused as refused:
        log.warning("stripe.event_refused reason=%s", refused)
        return _plain(str(refused), refused.status)
    except inbox.NoEvent as error:
        log.warning("stripe.event_refused reason=%s", error)
        return _plain(str(error), 400)
    if is_new:
        enqueue("billing.process_stripe_events")
    return _plain("Stored." if is_new else "Known already.", 200)


def _event(request: HttpRequest) -> dict[str, Any]:
    length = request.META.get("CONTENT_LENGTH") or "0"
    if not length.isdigit() or int(length) > LARGEST_BODY:
        raise Refused(f"An event has at most {LARGEST_BODY} bytes.", 413)
    body = request.read(LARGEST_BODY + 1)
    if len(body) > LARGEST_BODY:
        raise Refused(f"An event has at most {LARGEST_BODY} bytes.", 413)
    if not is_signed(body, request.headers.get("Stripe-Signature", ""), settings.STRIPE_WEBHOOK_SECRETS):
        _tell_of_forgery(body)
        raise Refused("The signature is missing, wrong or older than five minutes.")
    try:
        event = orjson.loads(body.replace(b"\\u0000", b"\\ufffd"))  # PostgreSQL has no NUL
    except orjson.JSONDecodeError:
        raise Refused("The body is no JSON.") from None
    if not isinstance(event, dict):
        raise Refused("The body is no event.")
    if event.get("livemode") is not settings.STRIPE_IS_LIVE:
        raise Refused("The event is of the other mode: live and test have endpoints of their own.")
    if (event.get("account") or settings.STRIPE_ACCOUNT_ID) != settings.STRIPE_ACCOUNT_ID:
        raise Refused("The event is of another account.")
    if event.get("api_version") != settings.STRIPE_API_VERSION:
        raise Refused(f"The event is not of version {settings.STRIPE_API_VERSION}: set the endpoint's version to it.")
    return event


def _tell_of_forgery(body: bytes) -> None:
    """Let whoever an event claims to be about hear that it was none of Stripe's."""
    try:
        claimed = customer_in(orjson.loads(body))
    except orjson.JSONDecodeError:
        return
    owner = owners({claimed}).get(claimed) if claimed else None
    if owner is not None:
        target = Target("webhook", "stripe", "Events of the payment service")
        metadata = {"where": "stripe"}
        attempt(organization_id=owner.organization_id, action=actions.BAD_SIGNATURE, target=target, metadata=metadata)


def _plain(text: str, status: int) -> HttpResponse:
    return HttpResponse(text, status=status, content_type="text/plain; charset=utf-8")
