"""Disputes: a card's holder tells the bank that a charge was wrong; the money goes until the bank has decided."""

from billing.sandbox import lists
from billing.sandbox.ids import token
from billing.sandbox.periods import DAY
from billing.sandbox.refusals import Json, Refusal
from billing.sandbox.routing import answers
from billing.sandbox.store import DUE, Books, take

OPEN = ("needs_response", "under_review")
ANSWERED_WITHIN = 7 * DAY
FEE = 1500  # minor units
WINNING, LOSING = "winning_evidence", "losing_evidence"  # what decides it at once, as in Stripe's test mode


def due(dispute: Json) -> int | None:
    """When it is lost because nobody has answered."""
    return int(dispute["evidence_details"]["due_by"]) if dispute["status"] == "needs_response" else None


DUE["dispute"] = due


def open_for(books: Books, charge: Json) -> Json:
    """The holder of the card disputes the charge: its money goes to the bank at once."""
    now = books.now(charge["customer"])
    made = books.new("dispute", charge=charge["id"], amount=charge["amount"], currency=charge["currency"])
    made |= {"created": now, "livemode": False, "metadata": {}, "payment_intent": charge["payment_intent"]}
    made |= {
        "reason": "fraudulent",
        "status": "needs_response",
        "is_charge_refundable": False,
        "balance_transactions": [],
    }
    made |= {"enhanced_eligibility_types": []}
    made["evidence_details"] |= {"due_by": now + ANSWERED_WITHIN, "has_evidence": False, "past_due": False}
    made["evidence_details"]["submission_count"] = 0
    made["_"]["customer"] = charge["customer"]
    charge["disputed"] = True
    books.save(charge)
    books.tell_of(charge, "charge.updated")
    books.add(made, "charge.dispute.created")
    _move(books, made, -made["amount"], FEE)
    books.save(made)
    books.tell_of(made, "charge.dispute.funds_withdrawn")
    return made


def decide(books: Books, dispute: Json, *, is_won: bool) -> None:
    """The bank decides: won, the money comes back; lost, it stays away."""
    dispute["status"] = "won" if is_won else "lost"
    dispute["evidence_details"]["past_due"] = dispute["evidence_details"]["submission_count"] == 0
    books.save(dispute)
    books.tell_of(dispute, "charge.dispute.closed")
    if is_won:
        _move(books, dispute, dispute["amount"], -FEE)
        books.save(dispute)
        books.tell_of(dispute, "charge.dispute.funds_reinstated")


def _move(books: Books, dispute: Json, amount: int, fee: int) -> None:
    now = books.now(dispute["_"]["customer"])
    details = [
        {"amount": fee, "application": None, "currency": "usd", "description": "Dispute fee", "type": "stripe_fee"}
    ]
    dispute["balance_transactions"].append(
        {
            "id": f"txn_1{token(23)}",
            "object": "balance_transaction",
            "amount": amount,
            "available_on": now,
            "balance_type": "payments",
            "created": now,
            "currency": dispute["currency"],
            "description": f"Chargeback {'withdrawal' if amount < 0 else 'reversal'} for {dispute['charge']}",
            "exchange_rate": None,
            "fee": fee,
            "fee_details": details,
            "net": amount - fee,
            "reporting_category": "dispute" if amount < 0 else "dispute_reversal",
            "source": dispute["id"],
            "status": "available",
            "type": "adjustment",
        }
    )


@answers("POST /v1/disputes/{dispute}")
def update(books: Books, params: Json, dispute: str) -> Json:
    """Answer the bank: what is submitted goes to it, and two words decide at once, as in Stripe's test mode."""
    found = _undecided(books, dispute)
    take(found, {name: params[name] for name in ("metadata",) if name in params})
    evidence = params.get("evidence") or {}
    found["evidence"] |= {name: value for name, value in evidence.items() if name != "enhanced_evidence"}
    details = found["evidence_details"]
    details["has_evidence"] = details["has_evidence"] or bool(evidence)
    if params.get("submit", True) and evidence:
        details["submission_count"] += 1
        found["status"] = "under_review"
    books.save(found, "charge.dispute.updated")
    words = {str(value) for value in evidence.values()}
    if found["status"] == "under_review" and words & {WINNING, LOSING}:
        decide(books, found, is_won=WINNING in words)
    return found


@answers("POST /v1/disputes/{dispute}/close")
def close(books: Books, params: Json, dispute: str) -> Json:
    """Give in: it is lost."""
    found = _undecided(books, dispute)
    decide(books, found, is_won=False)
    return found


def _undecided(books: Books, wanted: str) -> Json:
    found = books.get("dispute", wanted)
    if found["status"] not in OPEN:
        raise Refusal(f"This dispute is already closed: {found['status']}.", code="dispute_closed")
    return found


@answers("GET /v1/disputes/{dispute}")
def retrieve(books: Books, params: Json, dispute: str) -> Json:
    """One dispute."""
    return books.get("dispute", dispute)


@answers("GET /v1/disputes")
def list_all(books: Books, params: Json) -> Json:
    """The disputes, newest first."""
    return lists.page(books, "dispute", params, "/v1/disputes")
