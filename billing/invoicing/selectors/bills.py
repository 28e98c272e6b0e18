"""Reads bills: one entry for whatever is paid once, however many documents of ours and of Stripe's it has."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.db.models.functions import Coalesce

from billing.invoicing.models import Invoice
from billing.models import Document
from billing.money import Money

LARGEST_PAGE = 200
LEVELS = {
    "paid": "good",
    "succeeded": "good",
    "issued": "good",
    "open": "warn",
    "failed": "bad",
    "uncollectible": "bad",
    "needs_response": "warn",
    "under_review": "warn",
    "won": "good",
    "lost": "bad",
}
WITH_THE_NEXT = "with_the_next"  # the state of use that Stripe's next invoice brings
WORDS = {
    WITH_THE_NEXT: "With the next invoice",
    "uncollectible": "Written off",
    "needs_response": "With the bank",
    "under_review": "With the bank",
    "warning_needs_response": "The bank asks",
    "warning_under_review": "The bank asks",
    "warning_closed": "Closed",
}
KEPT = {"failed", "canceled", "won", "prevented"}  # states of a refund or dispute by which nothing is gone


@dataclass(frozen=True, slots=True)
class Bill:
    """What is paid once. `main` says what is to be paid: Stripe's document, or our invoice where Stripe has none.

    `invoice` is ours of the use in it, if there is one; `notes` give some of it back, or dispute it. A note that
    belongs to no bill is a bill of its own.
    """

    main: Document | Invoice
    invoice: Invoice | None = None
    notes: tuple[Document, ...] = ()

    @property
    def name(self) -> str:
        """Its number, or what it is."""
        if isinstance(self.main, Document):
            is_dispute = self.main.kind == Document.Kind.DISPUTE  # whose number is the bank's reason
            return self.main.get_kind_display() if is_dispute else self.main.number or self.main.get_kind_display()
        if self.main.number:
            return self.main.number
        what = "Draft" if self.main.state == Invoice.State.DRAFT else "Use"
        return f"{what} from {self.main.period_start:%-d %B %Y}"

    @property
    def at(self) -> datetime:
        """When it was issued; of a draft, when its period ends."""
        if isinstance(self.main, Document):
            return self.main.issued_at
        return self.main.issued_at or self.main.period_end

    @property
    def place(self) -> str:
        """Where it stands in the list, for `bills`."""
        return f"{(self.at - datetime.fromtimestamp(0, UTC)) // timedelta(microseconds=1)}_{self.main.pk}"

    @property
    def period(self) -> tuple[datetime, datetime] | None:
        """The time whose use it is for, where it is for one."""
        start, end = self.main.period_start, self.main.period_end
        return None if start is None or end is None or start == end else (start, end)

    @property
    def state(self) -> str:
        """What became of it, in Stripe's words, or WITH_THE_NEXT."""
        if isinstance(self.main, Document):
            return self.main.status or "issued"
        is_open = self.main.state == Invoice.State.OPEN
        return WITH_THE_NEXT if is_open and self.main.source == Invoice.Source.STRIPE else self.main.state

    @property
    def state_words(self) -> str:
        """The same for people."""
        return _words(self.state)

    @property
    def level(self) -> str:
        """good, warn or bad; empty where it is none."""
        return LEVELS.get(self.state, "")

    @property
    def total(self) -> Money | None:
        """What is paid; below zero for what comes back, None while it is being counted."""
        if isinstance(self.main, Invoice):
            return None if self.main.state == Invoice.State.DRAFT else Money(self.main.total, self.main.currency)
        is_invoice = self.main.kind == Document.Kind.INVOICE
        return Money(self.main.total, self.main.currency) if is_invoice else _back(self.main)

    @property
    def tax(self) -> Money | None:
        """What of the total is tax; None for our invoices, which are without."""
        return Money(self.main.tax, self.main.currency) if isinstance(self.main, Document) else None

    @property
    def remarks(self) -> list[tuple[str, Money, str, datetime]]:
        """The notes for people: what each is, what it changes or disputes, its state where that matters, and when."""
        return [
            (
                note.get_kind_display(),
                Money(note.total, note.currency) if _is_kept(note) else _back(note),
                _words(note.status) if note.kind == Document.Kind.DISPUTE or _is_kept(note) else "",
                note.issued_at,
            )
            for note in self.notes
        ]

    @property
    def due_at(self) -> datetime | None:
        """Until when an open one is to be paid, where there is such a day."""
        return self.main.due_at if self.state == "open" else None

    @property
    def pay_url(self) -> str:
        """Where an open one can be paid; may be blank."""
        return self.main.page_url if self.state == "open" else ""


def bills(limit: int = 50, *, after: str = "") -> list[Bill]:
    """The newest bills of the organization in scope, or the next older ones `after` the place of one.

    Five queries, however many there are. Raises ValueError for a place that is none.
    """
    limit = min(limit, LARGEST_PAGE)
    billed = Document.objects.filter(kind=Document.Kind.INVOICE)
    at_stripe = Exists(billed.filter(stripe_id=OuterRef("stripe_id")))
    with_bill = Exists(billed.filter(stripe_id=OuterRef("invoice_stripe_id")))
    stripes = billed.annotate(at=F("issued_at"))
    ours = Invoice.objects.exclude(at_stripe).annotate(at=Coalesce("issued_at", "period_end"))
    notes = Document.objects.exclude(kind=Document.Kind.INVOICE).exclude(with_bill).annotate(at=F("issued_at"))
    rows: list[Document | Invoice] = [
        row for kind in (stripes, ours, notes) for row in _older(kind, after).order_by("-at", "-id")[:limit]
    ]
    rows = sorted(rows, key=lambda row: (row.at, row.pk), reverse=True)[:limit]  # type: ignore[union-attr]  # above
    documents = [one for one in rows if isinstance(one, Document) and one.kind == Document.Kind.INVOICE]
    collected = {
        one.stripe_id: one for one in Invoice.objects.filter(stripe_id__in=[one.stripe_id for one in documents])
    }
    given_back = _notes(documents)
    return [
        Bill(one, one)
        if isinstance(one, Invoice)
        else Bill(one, collected.get(one.stripe_id), tuple(given_back.get(one.stripe_id, ())))
        for one in rows
    ]


def _older(rows: QuerySet[Any], after: str) -> QuerySet[Any]:
    if not after:
        return rows
    moment, _, key = after.partition("_")
    at, pk = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=int(moment)), UUID(key)
    return rows.filter(Q(at__lt=at) | Q(at=at, id__lt=pk))


def bill_of(invoice: Invoice) -> Bill:
    """The bill that one of our invoices stands in."""
    document = Document.objects.filter(stripe_id=invoice.stripe_id).first() if invoice.stripe_id else None
    if document is None:
        return Bill(invoice, invoice)
    return Bill(document, invoice, tuple(_notes([document])[document.stripe_id]))


def _words(state: str) -> str:
    return WORDS.get(state, state.replace("_", " ").capitalize())


def _is_kept(note: Document) -> bool:
    """Whether a note takes nothing away: a refund that failed, a dispute that was won or only asked about."""
    return note.status in KEPT or note.status.startswith("warning_")


def _back(note: Document) -> Money:
    """What a note takes away, below zero."""
    return Money(0 if _is_kept(note) else -note.total, note.currency)


def _notes(documents: Iterable[Document]) -> dict[str, list[Document]]:
    """Credit notes, refunds and disputes by the invoice that they belong to."""
    known = [one.stripe_id for one in documents]
    found: dict[str, list[Document]] = defaultdict(list)
    rows = Document.objects.exclude(kind=Document.Kind.INVOICE).filter(invoice_stripe_id__in=known)
    for one in rows.order_by("issued_at", "id"):
        found[one.invoice_stripe_id].append(one)
    return found
