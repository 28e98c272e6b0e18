"""Reads of what is owed by the organization in scope, and what a page says about it."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime

from billing.dunning_terms import CARD, TRANSFER, DunningState, Step, Terms
from billing.models import Debt, Dunning
from billing.money import Money


@dataclass(frozen=True, slots=True)
class Banner:
    """What every page says while something is owed; `level` is warning or danger, `pay_url` may be blank.

    `owed` is what is open, a sum for each currency. `changes_at` is when the next state begins, None when there is
    none.
    """

    state: DunningState
    level: str
    title: str
    sentence: str
    pay_url: str
    owed: tuple[Money, ...]
    changes_at: datetime | None


_TITLES = {
    DunningState.PAST_DUE: "A payment did not go through",
    DunningState.RESTRICTED: "Writes have stopped",
    DunningState.SUSPENDED: "The service is suspended",
    DunningState.CANCELLED: "The subscription has ended",
}
_SENTENCES = {
    DunningState.PAST_DUE: "Everything still works. Pay until {date}, then writes stop.",
    DunningState.RESTRICTED: "Reads and exports work. Pay until {date}, then they stop too, except for exports.",
    DunningState.SUSPENDED: "Exports still work, and nothing is deleted. The subscription ends on {date}.",
    DunningState.CANCELLED: "Your data is still here. Pay what is open, and everything works again.",
}


def owed() -> list[Debt]:
    """Unpaid invoices, the oldest first; also those that are to be transferred and not overdue yet."""
    return list(Debt.objects.filter(settled_at=None, failed_at__isnull=False).order_by("failed_at"))


def terms_for(debt: Debt, dunning: Dunning | None) -> Terms:
    """The terms that were agreed on, or those of the way in which the invoice is paid."""
    if dunning is not None and dunning.terms:
        return Terms(**dunning.terms)
    return CARD if debt.is_by_card else TRANSFER


def ladder(debts: list[Debt], dunning: Dunning | None) -> list[Step]:
    """The steps of all debts in the order of time."""
    steps = [step for debt in debts if debt.failed_at for step in terms_for(debt, dunning).ladder(debt.failed_at)]
    return sorted(steps, key=lambda step: (step.at, step.state.badness))


def banner() -> Banner | None:
    """What the pages say, or None while nothing is overdue. Two queries; one where nothing ever was."""
    dunning = Dunning.objects.first()
    if dunning is None or dunning.state == DunningState.OK:
        return None
    state, debts = DunningState(dunning.state), owed()
    # counted from the state that holds, not from the clock: a late sweep makes nothing that works look stopped
    changes_at = next((step.at for step in ladder(debts, dunning) if step.state.badness > state.badness), None)
    sums: Counter[str] = Counter()
    for debt in debts:
        sums[debt.currency] += debt.amount
    return Banner(
        state=state,
        level="warning" if state is DunningState.PAST_DUE else "danger",
        title=_TITLES[state],
        sentence=_SENTENCES[state].format(date=f"{changes_at:%-d %B %Y}" if changes_at else ""),
        pay_url=next((debt.pay_url for debt in debts if debt.pay_url), ""),
        owed=tuple(Money(amount, currency) for currency, amount in sorted(sums.items())),
        changes_at=changes_at,
    )
