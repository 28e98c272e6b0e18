"""Disputes in Stripe's shapes: the money goes at once, and comes back or stays away when the bank has decided."""

import pytest
import stripe

from tests.billing.sandbox.conftest import START, Account

DAY = 86_400
NAMES = [f"charge.dispute.{word}" for word in ("created", "funds_withdrawn", "updated", "closed", "funds_reinstated")]


def disputed(account: Account, **more: str) -> tuple[stripe.Dispute, str]:
    """A subscription whose payment its payer disputes; the dispute and the charge."""
    account.subscribe(account.customer("pm_card_createDispute", **more).id, account.price().id)
    [found] = account.client.v1.disputes.list({}).data
    return found, str(found.charge)


def test_a_dispute_takes_the_money_at_once(account: Account) -> None:
    found, charge = disputed(account)
    assert (found.status, found.amount, found.reason) == ("needs_response", 2000, "fraudulent")
    assert [one.amount for one in found.balance_transactions] == [-2000]
    assert account.client.v1.charges.retrieve(charge).disputed is True
    assert account.events(*NAMES) == NAMES[:2]
    assert account.client.v1.disputes.retrieve(found.id).charge == charge


@pytest.mark.parametrize(("word", "status"), [("winning_evidence", "won"), ("losing_evidence", "lost")])
def test_evidence_decides(account: Account, word: str, status: str) -> None:
    found, _ = disputed(account)
    closed = account.client.v1.disputes.update(found.id, {"evidence": {"uncategorized_text": word}})
    assert closed.status == status
    back = [2000] if status == "won" else []
    assert [one.amount for one in closed.balance_transactions] == [-2000, *back]
    assert account.events(*NAMES) == NAMES[: 5 if status == "won" else 4]
    with pytest.raises(stripe.InvalidRequestError, match="already closed"):
        account.client.v1.disputes.close(found.id)


def test_evidence_that_is_not_submitted_decides_nothing(account: Account) -> None:
    found, _ = disputed(account)
    kept = account.client.v1.disputes.update(
        found.id, {"evidence": {"uncategorized_text": "winning_evidence"}, "submit": False}
    )
    assert (kept.status, kept.evidence_details.has_evidence) == ("needs_response", True)


def test_nobody_answers_and_it_is_lost(account: Account) -> None:
    clock = account.clock().id
    found, _ = disputed(account, test_clock=clock)
    account.advance(clock, START + 7 * DAY)
    lost = account.client.v1.disputes.retrieve(found.id)
    assert (lost.status, lost.evidence_details.past_due) == ("lost", True)


def test_what_is_disputed_is_not_refunded_too(account: Account) -> None:
    _, charge = disputed(account)
    with pytest.raises(stripe.InvalidRequestError) as refused:
        account.client.v1.refunds.create({"charge": charge})
    assert refused.value.code == "charge_disputed"
