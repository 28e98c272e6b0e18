"""The one door to Stripe: pinned version, ten seconds, keys against doing things twice, never in an open transaction.

Behind it stands Stripe, or without a key the simulator; nothing else in the code knows which. Answers are Stripe's
objects as plain dictionaries, amounts in minor units, times in Unix seconds.
"""

import functools
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote

import stripe
from django.conf import settings
from django.db import transaction

from billing.sandbox import clock as sandbox_clock
from billing.sandbox import keys as sandbox_keys
from billing.sandbox.transport import SandboxTransport

TIMEOUT = 10  # seconds a try
RETRIES = 1
TOLERANCE = 300  # seconds that a signature is good for
BUSY_WAIT, OUTAGE_WAIT = 5, 30  # seconds
PAGE = 100
TAX_RATE = "total_taxes.tax_rate_details.tax_rate"
Json = dict[str, Any]
log = logging.getLogger("billing")
# Where the objects that events are about can be fetched
PLACES = {
    "charge": "charges",
    "checkout.session": "checkout/sessions",
    "coupon": "coupons",
    "credit_note": "credit_notes",
    "customer": "customers",
    "dispute": "disputes",
    "invoice": "invoices",
    "invoiceitem": "invoiceitems",
    "payment_intent": "payment_intents",
    "payment_method": "payment_methods",
    "price": "prices",
    "product": "products",
    "refund": "refunds",
    "setup_intent": "setup_intents",
    "subscription": "subscriptions",
    "subscription_schedule": "subscription_schedules",
}

EXPANDED = {  # what we read of it that is an object of its own
    "customer": ["tax_ids", "subscriptions"],
    "dispute": ["charge"],
    "refund": ["charge"],
    "subscription": ["customer"],
}


class StripeUnavailable(Exception):
    """Stripe is away, slow or busy: the same call may do after `retry_after` seconds. Nobody knows what was done."""

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class StripeRefused(Exception):
    """Stripe said no; a retry does not help. `code` is Stripe's (`card_declined`, `resource_missing`, …)."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class OpenTransaction(Exception):
    """Stripe was called while a transaction was open: locks would be held all that time. A mistake of ours."""


@dataclass(frozen=True, slots=True)
class Item:
    """One price of a subscription. `id` names the item there is; without one it is new."""

    price: str
    quantity: int | None = None  # None: metered
    id: str = ""
    is_deleted: bool = False

    def form(self) -> Json:
        """In Stripe's words."""
        if self.is_deleted:
            return {"id": self.id, "deleted": True}
        form: Json = {"price": self.price}
        if self.id:
            form["id"] = self.id
        if self.quantity is not None:
            form["quantity"] = self.quantity
        return form


def is_signed(body: bytes, header: str, secrets: Sequence[str]) -> bool:
    """Whether Stripe (or the simulator where it plays) signed the body with any of the secrets, within five minutes."""
    if settings.STRIPE_SANDBOX:
        secrets = [*secrets, sandbox_keys.webhook_secret()]
    return any(_is_signed(body, header, secret) for secret in secrets)


def _is_signed(body: bytes, header: str, secret: str) -> bool:
    try:
        stripe.WebhookSignature.verify_header(body, header, secret, TOLERANCE)
    except (stripe.SignatureVerificationError, UnicodeDecodeError):
        return False
    return True


def is_on() -> bool:
    """Whether there is anybody to ask: Stripe, or the simulator."""
    return bool(settings.STRIPE_API_KEY or settings.STRIPE_SANDBOX)


def client() -> "StripeClient":
    """The gateway to Stripe with a key, to the simulator without one. Raises StripeRefused where there is neither."""
    if settings.STRIPE_API_KEY:
        return _real(settings.STRIPE_API_KEY)
    if settings.STRIPE_SANDBOX:
        return StripeClient(sandbox_keys.secret_key(), SandboxTransport(), sandbox_clock.now_of)
    raise StripeRefused("stripe_off", "Cards are not taken here: plans are by contract.")


@functools.cache
def _real(key: str) -> "StripeClient":
    return StripeClient(key, stripe.RequestsClient(timeout=TIMEOUT), lambda customer: int(time.time()))


class StripeClient:
    """Calls, one by one. Each raises StripeUnavailable or StripeRefused; `key` makes a repeated POST the same one."""

    def __init__(self, api_key: str, transport: stripe.HTTPClient, clock: Callable[[str], int]) -> None:
        self.time_of = clock  # a customer's time in Unix seconds: the simulator's time machine moves each by itself
        self._stripe = stripe.StripeClient(
            api_key,
            stripe_version=settings.STRIPE_API_VERSION,
            http_client=transport,
            max_network_retries=RETRIES,
        )

    # --- Customers ---

    def create_customer(self, *, organization_id: str, name: str, email: str, key: str) -> Json:
        """A customer; its metadata says whose it is, for people who look at Stripe's pages."""
        form = {"name": name, "email": email, "metadata": {"organization": organization_id}}
        return self._post("customers", form, key)

    def update_customer(self, customer: str, form: Json, *, key: str) -> Json:
        """Change a customer's name, address, e-mail or invoice settings."""
        return self._post(f"customers/{quote(customer)}", form, key)

    def add_tax_id(self, customer: str, kind: str, value: str, *, key: str) -> Json:
        """A tax id, which Stripe checks by and by (`verification.status`)."""
        return self._post(f"customers/{quote(customer)}/tax_ids", {"type": kind, "value": value}, key)

    def remove_tax_id(self, customer: str, tax_id: str) -> None:
        """Take a tax id off."""
        self._call("delete", f"customers/{quote(customer)}/tax_ids/{quote(tax_id)}")

    # --- Hosted pages ---

    def create_checkout(
        self, *, customer: str, items: Iterable[Item], trial: Json | None, urls: tuple[str, str], key: str
    ) -> Json:
        """A hosted page that starts a subscription; `urls` are where it ends well and where it is left.

        `trial` holds `days`, `needs_card` and what happens `at_end` without a card (cancel, pause or create_invoice).
        """
        form: Json = {
            "mode": "subscription",
            "customer": customer,
            "line_items": [item.form() for item in items],
            "success_url": urls[0],
            "cancel_url": urls[1],
            "allow_promotion_codes": True,
            "billing_address_collection": "auto",
            "tax_id_collection": {"enabled": True},
            "customer_update": {"name": "auto", "address": "auto"},
        }
        form |= taxed()
        if trial:
            form["payment_method_collection"] = "always" if trial["needs_card"] else "if_required"
            form["subscription_data"] = trial_form(trial)
        return self._post("checkout/sessions", form, key)

    def expire_checkout(self, session: str) -> Json:
        """Close a page on which nobody has paid."""
        return self._post(f"checkout/sessions/{quote(session)}/expire", {}, key="")

    def create_portal(self, customer: str, return_url: str, *, key: str) -> Json:
        """Stripe's own page for cards, addresses and invoices."""
        return self._post("billing_portal/sessions", {"customer": customer, "return_url": return_url}, key)

    # --- Subscriptions ---

    def create_subscription(self, customer: str, items: Iterable[Item], *, trial: Json | None, key: str) -> Json:
        """A subscription without a page: a trial that needs no card, or one paid with the card on file."""
        form: Json = {
            "customer": customer,
            "items": [item.form() for item in items],
            "payment_behavior": "default_incomplete" if trial is None else "allow_incomplete",
        }
        form |= taxed()
        if trial:
            form |= trial_form(trial)
        return self._post("subscriptions", form, key)

    def preview(self, customer: str, subscription: str, items: Iterable[Item], *, at: int, behavior: str) -> Json:
        """The invoice that a change of items at the Unix second `at` would make."""
        details = {"items": [item.form() for item in items], "proration_date": at, "proration_behavior": behavior}
        form = {"customer": customer, "subscription": subscription, "subscription_details": details}
        return self._post("invoices/create_preview", form | {"expand": [TAX_RATE]}, key="")

    def upcoming(self, customer: str, subscription: str) -> Json:
        """The next regular invoice as it stands."""
        return self._post("invoices/create_preview", {"customer": customer, "subscription": subscription}, key="")

    def change_subscription(
        self, subscription: str, items: Iterable[Item], *, at: int | None, behavior: str, key: str
    ) -> Json:
        """Change a subscription's items, prorated as from the Unix second `at`; unpaid changes are not made."""
        form: Json = {"items": [item.form() for item in items], "proration_behavior": behavior}
        if at is not None:
            form["proration_date"] = at
        if behavior == "always_invoice":
            form["payment_behavior"] = "error_if_incomplete"
        return self._post(f"subscriptions/{quote(subscription)}", form, key)

    def update_subscription(self, subscription: str, form: Json, *, key: str) -> Json:
        """Change what is neither price nor quantity: coupons, the end, the trial's end."""
        return self._post(f"subscriptions/{quote(subscription)}", form, key)

    def end_subscription(self, subscription: str, *, key: str) -> Json:
        """End it at once: usage that is not billed yet is billed now, nothing is given back."""
        return self._call("delete", f"subscriptions/{quote(subscription)}", {"invoice_now": True}, key)

    def create_schedule(self, subscription: str, *, key: str) -> Json:
        """Put a running subscription under a schedule, whose first phase is what runs now."""
        return self._post("subscription_schedules", {"from_subscription": subscription}, key)

    def set_schedule(self, schedule: str, phases: Sequence[Json], *, key: str) -> Json:
        """Say what comes when; after the last phase the subscription runs on by itself."""
        form = {"phases": list(phases), "end_behavior": "release", "proration_behavior": "none"}
        return self._post(f"subscription_schedules/{quote(schedule)}", form, key)

    def release_schedule(self, schedule: str, *, key: str) -> Json:
        """Take the schedule away; the subscription stays as it is."""
        return self._post(f"subscription_schedules/{quote(schedule)}/release", {}, key)

    # --- Invoices ---

    def set_invoice_item(self, form: Json, *, item: str = "", key: str) -> Json:
        """A line for the next invoice; with `item` that one is changed."""
        return self._post(f"invoiceitems/{quote(item)}" if item else "invoiceitems", form, key)

    def create_invoice(self, form: Json, *, key: str) -> Json:
        """A draft."""
        return self._post("invoices", form, key)

    def finalize(self, invoice: str, *, key: str) -> Json:
        """Give a draft its number: it can no longer be changed."""
        return self._post(f"invoices/{quote(invoice)}/finalize", {}, key)

    def pay(self, invoice: str, *, method: str = "", key: str) -> Json:
        """Try to collect an open invoice now, with that payment method or with the default one."""
        return self._post(f"invoices/{quote(invoice)}/pay", {"payment_method": method} if method else {}, key)

    def pay_out_of_band(self, invoice: str, *, key: str) -> Json:
        """Note that the money came some other way."""
        return self._post(f"invoices/{quote(invoice)}/pay", {"paid_out_of_band": True}, key)

    def void(self, invoice: str, *, key: str) -> Json:
        """Declare an open invoice void; it keeps its number."""
        return self._post(f"invoices/{quote(invoice)}/void", {}, key)

    def credit_note(self, invoice: str, amount: int, reason: str, *, is_paid: bool, key: str) -> Json:
        """Take `amount` minor units off an invoice; of a paid one they go to the customer's balance."""
        form: Json = {"invoice": invoice, "amount": amount, "memo": reason}
        if is_paid:
            form["credit_amount"] = amount
        return self._post("credit_notes", form, key)

    def refund(self, payment_intent: str, amount: int, *, invoice: str, key: str) -> Json:
        """Give `amount` minor units of an invoice's payment back."""
        form = {"payment_intent": payment_intent, "amount": amount, "metadata": {"invoice": invoice}}
        return self._post("refunds", form, key)

    # --- Usage ---

    def report_usage(self, *, identifier: str, meter: str, customer: str, quantity: int, at: datetime) -> None:
        """Tell a meter; the same identifier counts once within 24 hours. A known one is refused as such by Stripe."""
        form = {
            "event_name": meter,
            "identifier": identifier,
            "timestamp": int(at.timestamp()),
            "payload": {"stripe_customer_id": customer, "value": str(quantity)},
        }
        self._post("billing/meter_events", form, key=identifier)

    def meters(self) -> list[Json]:
        """Every active meter."""
        return list(self._pages("billing/meters", {"status": "active"}))

    def usage_sum(self, *, meter_id: str, customer: str, start: datetime, end: datetime) -> int:
        """What a meter holds for a customer between two whole minutes."""
        form = {"customer": customer, "start_time": int(start.timestamp()), "end_time": int(end.timestamp())}
        pages = self._pages(f"billing/meters/{quote(meter_id)}/event_summaries", form)
        return sum(int(page["aggregated_value"]) for page in pages)

    # --- Reading ---

    def retrieve(self, kind: str, object_id: str) -> Json:
        """An object as it is now. Raises StripeRefused with `resource_missing` where it is gone."""
        form: Json = {"expand": EXPANDED[kind]} if kind in EXPANDED else {}
        return self._call("get", f"{PLACES[kind]}/{quote(object_id)}", form)

    def list_events(self, since: datetime) -> Iterator[Json]:
        """The events since then, newest first."""
        return self._pages("events", {"created": {"gte": int(since.timestamp())}})

    def list_prices(self) -> list[Json]:
        """Every active price, with its product and its tiers."""
        return list(self._pages("prices", {"active": True, "expand": ["data.product", "data.tiers"]}))

    def prices_by_key(self, lookup_keys: Sequence[str]) -> dict[str, Json]:
        """The active prices with these lookup keys; one that Stripe does not know is left out."""
        found = self._call("get", "prices", {"lookup_keys": list(lookup_keys), "active": True, "limit": PAGE})
        return {price["lookup_key"]: price for price in found["data"]}

    def promotion_code(self, code: str) -> Json | None:
        """The active promotion code with this text, if there is one."""
        found = self._call("get", "promotion_codes", {"code": code, "active": True, "limit": 1})
        return found["data"][0] if found["data"] else None

    def create_product(self, form: Json, *, key: str) -> Json:
        """A product of the catalogue."""
        return self._post("products", form, key)

    def create_price(self, form: Json, *, key: str) -> Json:
        """A price of the catalogue; amounts never change once it is made."""
        return self._post("prices", form, key)

    def create_meter(self, *, name: str, title: str, key: str) -> Json:
        """A meter that adds up what it is told."""
        form = {
            "event_name": name,
            "display_name": title,
            "default_aggregation": {"formula": "sum"},
            "customer_mapping": {"type": "by_id", "event_payload_key": "stripe_customer_id"},
            "value_settings": {"event_payload_key": "value"},
        }
        return self._post("billing/meters", form, key)

    def cards(self, customer: str) -> list[Json]:
        """A customer's cards, newest first."""
        return list(self._pages(f"customers/{quote(customer)}/payment_methods", {"type": "card"}))

    def invoices(self, customer: str, status: str = "") -> list[Json]:
        """A customer's invoices that are draft, open, paid, uncollectible or void, or all; newest first."""
        return list(self._pages("invoices", {"customer": customer} | ({"status": status} if status else {})))

    def invoice_lines(self, invoice: str) -> list[Json]:
        """Every line of an invoice: the invoice itself shows the first ten."""
        return list(self._pages(f"invoices/{quote(invoice)}/lines", {}))

    def invoice_items(self, customer: str) -> list[Json]:
        """What was ever added to a customer's invoices by hand, on one already or waiting; newest first."""
        return list(self._pages("invoiceitems", {"customer": customer}))

    def invoice_of(self, payment_intent: str) -> str:
        """The invoice that a payment was for; empty for one that was for none."""
        payment = {"type": "payment_intent", "payment_intent": payment_intent}
        found = self._call("get", "invoice_payments", {"payment": payment, "limit": 1})["data"]
        return str(found[0]["invoice"]) if found else ""

    def payments(self, invoice: str) -> list[Json]:
        """The payments of an invoice."""
        return list(self._pages("invoice_payments", {"invoice": invoice}))

    # --- The wire ---

    def _post(self, path: str, form: Json, key: str) -> Json:
        return self._call("post", path, form, key)

    def _pages(self, path: str, form: Json) -> Iterator[Json]:
        after: Json = {}
        while True:
            page = self._call("get", path, {**form, **after, "limit": PAGE})
            yield from page["data"]
            if not page["has_more"] or not page["data"]:
                return
            after = {"starting_after": page["data"][-1]["id"]}

    def _call(self, method: str, path: str, form: Mapping[str, Any] | None = None, key: str = "") -> Json:
        refuse_open_transaction()
        options: Json = {"idempotency_key": key} if key else {}
        try:
            answer = self._stripe.raw_request(method, f"/v1/{path}", **(form or {}), **options)
        except stripe.StripeError as error:
            raise _named(error) from error
        body: Json = answer.data
        return body


def refuse_open_transaction() -> None:
    """Raise OpenTransaction inside a transaction; the one that a test case wraps around a test does not count."""
    try:
        with transaction.atomic(durable=True):
            pass
    except RuntimeError as error:
        raise OpenTransaction("Call Stripe before or after the transaction, not inside it.") from error


def taxed() -> Json:
    """What makes Stripe compute taxes, where that is wanted; empty where it is not."""
    return {"automatic_tax": {"enabled": True}} if settings.STRIPE_AUTOMATIC_TAX else {}


def trial_form(trial: Json) -> Json:
    """A trial in Stripe's words."""
    return {
        "trial_period_days": trial["days"],
        "trial_settings": {"end_behavior": {"missing_payment_method": trial["at_end"]}},
    }


def _named(error: stripe.StripeError) -> StripeUnavailable | StripeRefused:
    """The failure in our words; what is wrong with our key is said to the operator alone."""
    message = error.user_message or "Stripe gave no reason."
    status = error.http_status or 0
    if isinstance(error, stripe.AuthenticationError | stripe.PermissionError):
        log.error("stripe.key_refused status=%d request=%s", status, error.request_id)
        return StripeUnavailable("The payment provider cannot be reached just now.", OUTAGE_WAIT)
    if isinstance(error, stripe.RateLimitError) or status in {409, 429}:
        wait = (error.headers or {}).get("Retry-After", "")
        return StripeUnavailable("The payment provider is busy.", int(wait) if str(wait).isdigit() else BUSY_WAIT)
    if isinstance(error, stripe.APIConnectionError) or status >= 500 or not status:
        log.warning("stripe.unavailable status=%d request=%s", status, error.request_id)
        return StripeUnavailable("The payment provider cannot be reached just now.", OUTAGE_WAIT)
    return StripeRefused(error.code or "refused", message)
