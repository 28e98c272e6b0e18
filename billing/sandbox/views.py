"""The hosted pages: checkout, portal, invoice, the bank's question. Whoever has the address may act, as at Stripe."""

from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.crypto import constant_time_compare
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from billing.sandbox import cards, changes, checkout, customers, intents, invoice_api, methods, pages
from billing.sandbox.models import Object
from billing.sandbox.refusals import Json, Refusal
from billing.sandbox.store import Books

FIELDS = ("email", "name", "country", "tax_id", "promotion_code")  # of the checkout's form
UNAUTHENTICATED = "We are unable to authenticate your payment method. Please choose a different one and try again."
PORTAL_OPEN_FOR = 3600  # seconds
View = Callable[..., HttpResponse]


def hosted(*kinds: str) -> Callable[[Callable[..., HttpResponse]], View]:
    """Let a view have the books and the object that the address names, in one transaction. 404 for any other.

    A bank's no leaves what it must leave (the refused attempt); every other refusal takes everything back.
    """

    def decorate(view: Callable[..., HttpResponse]) -> View:
        @never_cache
        @require_http_methods(["GET", "POST"])
        def page(request: HttpRequest, stripe_id: str, **more: Any) -> HttpResponse:
            row = Object.objects.filter(stripe_id=stripe_id.replace("\0", ""), kind__in=kinds).first()
            if not settings.STRIPE_SANDBOX or row is None:
                raise Http404
            try:
                with transaction.atomic():
                    books = Books(row.account)
                    if request.method == "POST":
                        books.lock()
                    try:
                        return view(request, books, books.get(row.kind, stripe_id), **more)
                    except Refusal as refusal:
                        if not refusal.keeps:
                            raise
                        refused = str(refusal)
            except Refusal as refusal:
                refused = str(refusal)
            with transaction.atomic():
                books = Books(row.account)
                return view(request, books, books.get(row.kind, stripe_id), refused=refused, **more)

        return page

    return decorate


def _shown(request: HttpRequest, name: str, context: Json, refused: str) -> HttpResponse:
    status = 402 if refused else 200
    return render(request, f"sandbox/{name}.html", context | {"refused": refused}, status=status)


def _is_order(request: HttpRequest, refused: str) -> bool:
    """Whether the form is to be acted on; after a refusal it is only shown again."""
    return request.method == "POST" and not refused


def _typed(form: Any, name: str) -> str:
    """What somebody typed, without what PostgreSQL cannot keep, and not endless."""
    return str(form.get(name, "")).replace("\0", "").strip()[:200]


def _bank_asks(request: HttpRequest, amount: int, currency: str) -> HttpResponse | None:
    """The bank's question before a card that wants one pays; None once it is answered. Raises Refusal for a no."""
    name = request.POST.get("card", "")
    if not name or not cards.named(name).needs_authentication or request.POST.get("answer") == "yes":
        return None
    if request.POST.get("answer"):
        raise Refusal(UNAUTHENTICATED, code="payment_intent_authentication_failure", status=402)
    kept = [(field, _typed(request.POST, field)) for field in ("card", *FIELDS) if field in request.POST]
    return _shown(request, "authenticate", {"what": pages.money(amount, currency), "kept": kept}, "")


@hosted("checkout.session")
def checkout_page(request: HttpRequest, books: Books, session: Json, refused: str = "") -> HttpResponse:
    """Subscribe, pay, or leave a card; then on to the seller's page."""
    if _is_order(request, refused):
        if question := _bank_asks(request, session["amount_total"] or 0, session["currency"] or "usd"):
            return question
        details = {name: _typed(request.POST, name) for name in FIELDS}
        checkout.complete(books, session["id"], request.POST.get("card") or None, details)
        return redirect((session["success_url"] or "/").replace("{CHECKOUT_SESSION_ID}", session["id"]))
    if session["status"] != "open":
        text = "It was completed." if session["status"] == "complete" else "It has expired."
        link = (session["success_url"] or "").replace("{CHECKOUT_SESSION_ID}", session["id"])
        closed = {"heading": "This checkout is closed", "text": text, "link": link}
        return _shown(request, "closed", closed, refused)
    return _shown(request, "checkout", pages.of_checkout(books, session), refused)


@hosted("billing_portal.session")
def portal_page(request: HttpRequest, books: Books, session: Json, refused: str = "") -> HttpResponse:
    """Cards, details, invoices and the end of a subscription, for one hour."""
    if session["created"] + PORTAL_OPEN_FOR < books.now():
        raise Http404
    if _is_order(request, refused):
        order = ORDERS.get(request.POST.get("do", ""))
        if order is None:
            raise Refusal("The portal does not do that.")
        order(books, books.get("customer", session["customer"]), request.POST)
        return redirect(request.path)
    return _shown(request, "portal", pages.of_portal(books, session), refused)


def _own(books: Books, kind: str, wanted: str, customer: Json) -> Json:
    found = books.get(kind, wanted)
    if found["customer"] != customer["id"]:
        raise Http404
    return found


def _end(books: Books, customer: Json, form: Any) -> None:
    found = _own(books, "subscription", _typed(form, "subscription"), customer)
    changes.update(books, {"cancel_at_period_end": True}, found["id"])


def _keep(books: Books, customer: Json, form: Any) -> None:
    found = _own(books, "subscription", _typed(form, "subscription"), customer)
    changes.update(books, {"cancel_at_period_end": False}, found["id"])


def _add_card(books: Books, customer: Json, form: Any) -> None:
    made = methods.make(books, cards.named(form.get("card", "")))
    attached = methods.attach(books, {"customer": customer["id"]}, made["id"])
    _pay_with(books, customer, attached["id"])


def _pay_with(books: Books, customer: Json, method: str) -> None:
    customers.update(books, {"invoice_settings": {"default_payment_method": method}}, customer["id"])
    for subscription in books.all("subscription", customer["id"]):
        if subscription["default_payment_method"] and subscription["status"] not in {"canceled", "incomplete_expired"}:
            changes.update(books, {"default_payment_method": method}, subscription["id"])


def _choose_card(books: Books, customer: Json, form: Any) -> None:
    _pay_with(books, customer, _own(books, "payment_method", _typed(form, "method"), customer)["id"])


def _remove_card(books: Books, customer: Json, form: Any) -> None:
    methods.detach(books, {}, _own(books, "payment_method", _typed(form, "method"), customer)["id"])


def _change_details(books: Books, customer: Json, form: Any) -> None:
    places = dict.fromkeys(("city", "country", "line1", "line2", "postal_code", "state"))
    address = places | {name: _typed(form, name) or None for name in places if name in form}
    given = {name: _typed(form, name) for name in ("name", "email")}
    customers.update(books, given | {"address": address}, customer["id"])


def _add_tax_id(books: Books, customer: Json, form: Any) -> None:
    customers.create_tax_id(books, {"type": "eu_vat", "value": _typed(form, "value")[:30]}, customer["id"])


ORDERS: dict[str, Callable[[Books, Json, Any], None]] = {
    "cancel": _end,
    "resume": _keep,
    "card": _add_card,
    "default": _choose_card,
    "remove": _remove_card,
    "details": _change_details,
    "tax_id": _add_tax_id,
}


@hosted("invoice")
def invoice_page(request: HttpRequest, books: Books, invoice: Json, page: str, refused: str = "") -> HttpResponse:
    """The invoice, to be read, printed, or paid with a test card."""
    if not constant_time_compare(page, invoice["_"].get("page", "")):
        raise Http404
    if _is_order(request, refused):
        if question := _bank_asks(request, invoice["amount_due"], invoice["currency"]):
            return question
        made = methods.make(books, cards.named(request.POST.get("card", "")))
        method = methods.attach(books, {"customer": invoice["customer"]}, made["id"])
        methods.authenticate(method)
        invoice_api.pay(books, {"payment_method": method["id"], "off_session": False}, invoice["id"])
        return redirect(request.path)
    return _shown(request, "invoice", pages.of_invoice(books, invoice), refused)


@hosted("payment_intent", "setup_intent")
def authenticate_page(request: HttpRequest, books: Books, intent: Json, refused: str = "") -> HttpResponse:
    """The bank's question; the answer decides about the payment."""
    if intent["status"] != "requires_action":
        closed = {"heading": "Nothing to answer", "text": "Your bank asks nothing.", "link": ""}
        return _shown(request, "closed", closed, refused)
    if _is_order(request, refused):
        intents.authenticate(books, intent["id"], is_successful=request.POST.get("answer") == "yes")
        return _shown(request, "closed", {"heading": "Thank you", "text": "Your bank has your answer.", "link": ""}, "")
    is_payment = intent["object"] == "payment_intent"
    what = pages.money(intent["amount"], intent["currency"]) if is_payment else "A card is kept for later payments."
    return _shown(request, "authenticate", {"what": what}, refused)
