"""Deals with Stripe's events: fetches what they are about, mirrors it in dj-stripe's tables, projects it onto ours.

An event only says that something changed; the object is fetched outside any transaction, and one transaction applies
it. So events may come twice, late or in any order. Of dj-stripe there are its tables alone, none of its methods.
"""

import logging
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import connection, models, transaction
from django.utils import timezone
from djstripe import models as mirror
from psycopg import sql
from psycopg.types.json import Jsonb

from billing.models import StripeEvent
from billing.services import inbox
from billing.services.paperwork import moment
from billing.services.projection import PROJECTIONS, project
from billing.stripe_client import StripeRefused, StripeUnavailable, client
from tenancy.scope import scope, unscoped

Json = dict[str, Any]
NEVER = datetime(1970, 1, 1, tzinfo=UTC)  # when a row was fetched that stands in for one that was not
DAYS_TO_PAY = 1  # what a lost dispute has taken back
IN_FLIGHT = timedelta(minutes=10)  # an event younger than this may still be on its way
MIRRORED: dict[str, type[models.Model]] = {
    "customer": mirror.Customer,
    "subscription": mirror.Subscription,
    "invoice": mirror.Invoice,
    "payment_method": mirror.PaymentMethod,
    "price": mirror.Price,
    "product": mirror.Product,
}
MOVE_BACK = {"refund", "dispute"}
HANDLED = MIRRORED.keys() | PROJECTIONS.keys()
log = logging.getLogger("billing")


class ProcessFailed(Exception):
    """Some events could not be dealt with: the log says why, they wait in the inbox, the others are done."""


def process(limit: int = 20) -> int:
    """Deal with events that are due; how many objects they were about. Raises ProcessFailed after the last."""
    claims = inbox.claim(limit)
    failed = []
    for claim in claims:
        try:
            _deal_with(claim)
        except Exception as error:
            log.exception("stripe.events_failed kind=%s object=%s", claim.kind, claim.object_id)
            inbox.fail(claim.events, f"{type(error).__name__}: {error}")
            failed.append(claim.object_id)
    if failed:
        raise ProcessFailed(", ".join(failed))
    return len(claims)


def _deal_with(claim: inbox.Claim) -> None:
    if claim.kind not in HANDLED or not claim.object_id:
        inbox.finish(claim.events)
        return
    try:
        found = _fetched(claim.kind, claim.object_id)
    except StripeUnavailable as error:
        inbox.postpone(claim.events, str(error), after=timedelta(seconds=error.retry_after))
        return
    except StripeRefused as error:
        inbox.fail(claim.events, f"{error.code}: {error}")
        return
    try:
        _look_at_payer(claim, found)
        if found is not None:
            _bill_lost(claim.kind, found)
    except StripeUnavailable as error:
        inbox.postpone(claim.events, str(error), after=timedelta(seconds=error.retry_after))
        return
    with transaction.atomic():
        apply(claim.kind, found or _deleted(claim), claim.at)
        inbox.finish(claim.events)


def _look_at_payer(claim: inbox.Claim, found: Json | None) -> None:
    """A card went: ask for the customer that had it, since Stripe's word about it may never come."""
    if claim.kind != "payment_method" or (found and found.get("customer")):
        return
    events = StripeEvent.objects.filter(pk__in=claim.events)
    had_it = {
        *mirror.PaymentMethod.objects.filter(id=claim.object_id).values_list("customer_id", flat=True),
        *events.values_list("body__data__previous_attributes__customer", flat=True),
    }
    for customer in had_it - {None}:
        at = now()
        if (payer := _fetched("customer", str(customer))) is not None:
            apply("customer", payer, at)


def _bill_lost(kind: str, found: Json) -> None:
    """Ask again, once, for what a lost dispute has taken back: by an invoice of its own, since the old one is paid.

    Credits that were bought with it are taken back instead. Raises StripeUnavailable or StripeRefused.
    """
    if kind != "dispute" or found["status"] != "lost" or not found.get("invoice"):
        return
    stripe = client()
    of, key = stripe.retrieve("invoice", found["invoice"]), f"dispute:{found['id']}"
    is_asked = any((one.get("metadata") or {}).get("dispute") == found["id"] for one in stripe.invoices(of["customer"]))
    if is_asked or (of.get("metadata") or {}).get("top_up"):
        return
    draft = stripe.create_invoice(
        {
            "customer": of["customer"],
            "currency": found["currency"],
            "collection_method": "send_invoice",
            "days_until_due": DAYS_TO_PAY,
            "auto_advance": False,
            "pending_invoice_items_behavior": "exclude",
            "metadata": {"dispute": found["id"]},
        },
        key=f"{key}:invoice",
    )
    words = f"Payment of invoice {of['number']}, which your bank has taken back"
    line = {
        "customer": of["customer"],
        "invoice": draft["id"],
        "amount": found["amount"],
        "currency": found["currency"],
    }
    stripe.set_invoice_item(line | {"description": words}, key=f"{key}:line")
    stripe.finalize(draft["id"], key=f"{key}:finalize")
    refresh("invoice", draft["id"])


def _fetched(kind: str, object_id: str) -> Json | None:
    """The object as it is now, None where it is gone."""
    try:
        return _retrieved(kind, object_id)
    except StripeRefused as error:
        if error.code != "resource_missing":
            raise
        return None


def _retrieved(kind: str, object_id: str) -> Json:
    """The object, and beside what moves money back the `invoice` that was paid with it."""
    found = client().retrieve(kind, object_id)
    if kind in MOVE_BACK and (intent := found.get("payment_intent")):
        found = {**found, "invoice": client().invoice_of(intent)}
    return found


def _deleted(claim: inbox.Claim) -> Json:
    return {**claim.newest, "deleted": True}


def refresh(kind: str, object_id: str) -> None:
    """Fetch one object and apply it now. Raises as the gateway and `apply` do."""
    at = now()
    found = _retrieved(kind, object_id)
    _bill_lost(kind, found)
    apply(kind, found, at)


def now() -> datetime:
    """The database's clock: what was fetched where must be comparable."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        [at] = cursor.fetchone()
    return at  # type: ignore[no-any-return]  # the driver's


def apply(kind: str, found: Json, at: datetime) -> None:
    """Mirror and project an object that was asked for at `at`, in one transaction; an older answer changes nothing.

    Raises UnknownPrice or SecondSubscription, then nothing is changed.
    """
    with transaction.atomic():
        _mirror(kind, found, at)
        customer = found["id"] if kind == "customer" else _customer_of(found)
        if customer is None:
            return
        with unscoped(reason="Stripe names the customer, the account says whose it is") as wide:
            owners = wide.rows("billing_organization_of_customer", customer)
        if not owners:
            log.info("stripe.customer_unknown customer=%s", customer)
            return
        with scope(owners[0]["organization_id"]):
            project(kind, found, at)


def _customer_of(found: Json) -> str | None:
    holder = found.get("charge") if found["object"] in MOVE_BACK else found
    customer = holder.get("customer") if isinstance(holder, dict) else None
    return customer["id"] if isinstance(customer, dict) else customer


# --- The mirror ---


def _mirror(kind: str, found: Json, at: datetime) -> None:
    model = MIRRORED.get(kind)
    if model is None:
        return
    customer = _customer_of(found) if kind != "customer" else None
    columns: Json = {}
    if kind == "customer":
        columns = {"email": found.get("email") or ""}
    elif kind == "product":
        columns = {"name": found.get("name") or "", "active": found.get("active", False)}
    elif kind == "price":
        columns = {
            "active": found.get("active", False),
            "currency": found.get("currency") or "",
            "nickname": found.get("nickname") or "",
            "lookup_key": found.get("lookup_key"),
            "product_id": _stand_in("product", _id(found.get("product")), name=""),
        }
    elif kind == "payment_method":
        columns = {"customer_id": _stand_in("customer", customer, email="") if customer else None}
    elif customer is not None:
        columns = {"customer_id": _stand_in("customer", customer, email="")}
        if kind == "invoice":
            subscription = subscription_of(found)
            columns["subscription_id"] = (
                _stand_in("subscription", subscription, customer_id=customer) if subscription else None
            )
    else:
        return  # an invoice or a subscription that is gone, and whose customer nobody knows
    _keep(model, found, at, columns)


def subscription_of(invoice: Json) -> str | None:
    """The subscription that an invoice is for."""
    details = (invoice.get("parent") or {}).get("subscription_details") or {}
    return _id(details.get("subscription"))


def _id(named: Any) -> str | None:
    """An object's id, whether it was expanded or not."""
    return named.get("id") if isinstance(named, dict) else named


def _stand_in(kind: str, object_id: str | None, **columns: Any) -> str | None:
    """Make sure that there is a row to refer to; the first fetch replaces it."""
    if object_id is not None:
        _keep(MIRRORED[kind], {"id": object_id, "livemode": settings.STRIPE_IS_LIVE}, NEVER, columns)
    return object_id


def _keep(model: type[models.Model], found: Json, at: datetime, columns: Json) -> None:
    """Insert or update one row of dj-stripe's, unless it has been fetched since; `djstripe_updated` says when."""
    created = found.get("created")
    row = {
        "id": found["id"],
        "djstripe_created": timezone.now(),
        "djstripe_updated": at,
        "livemode": found.get("livemode"),
        "created": moment(created) if isinstance(created, int) else None,
        "metadata": Jsonb(found.get("metadata") or {}),
        "stripe_data": Jsonb(found),
        **columns,
    }
    names = [sql.Identifier(name) for name in row]
    changes = [sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name)) for name in row if name != "djstripe_created"]
    query = sql.SQL(
        "INSERT INTO {table} AS t ({names}) VALUES ({values}) ON CONFLICT (id) DO UPDATE SET {changes} "
        "WHERE t.djstripe_updated < excluded.djstripe_updated"
    ).format(
        table=sql.Identifier(model._meta.db_table),
        names=sql.SQL(", ").join(names),
        values=sql.SQL(", ").join([sql.Placeholder()] * len(row)),
        changes=sql.SQL(", ").join(changes),
    )
    with connection.cursor() as cursor:
        cursor.execute(query, list(row.values()))


# --- The safety net ---


def ended_by_stripe(*, days: int = 90) -> list[str]:
    """Subscriptions that Stripe itself has ended over a payment, and not with their trial: that is for dunning to do.

    The API does not show what the account does with them (Billing → Revenue recovery → Retries); this does, afterwards.
    """
    since = int((timezone.now() - timedelta(days=days)).timestamp())
    rows = mirror.Subscription.objects.filter(
        stripe_data__cancellation_details__reason="payment_failed", stripe_data__ended_at__gte=since
    )
    return [row.id for row in rows if (row.stripe_data.get("trial_end") or 0) < row.stripe_data["ended_at"]]


def find_missed(*, days: int = 3) -> int:
    """Ask Stripe for the events of the last days and store those that never came; how many those were.

    One that is ten minutes old by then means that events do not reach us: it is logged as an error.
    """
    missed = late = 0
    for event in client().list_events(timezone.now() - timedelta(days=days)):
        if event.get("api_version") != settings.STRIPE_API_VERSION:
            log.warning("stripe.event_of_another_version event=%s", event["id"])
        elif inbox.receive(event):
            missed += 1
            late += moment(event["created"]) < timezone.now() - IN_FLIGHT  # type: ignore[operator]  # it has a time
    if late:
        log.error("stripe.events_missed events=%d", late)
    return missed
