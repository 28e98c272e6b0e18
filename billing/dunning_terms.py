"""Says what happens when, while an invoice is overdue: how long access stays, and when we write."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum


class DunningState(StrEnum):
    """How far an unpaid invoice has come, from good to bad."""

    OK = "ok"
    PAST_DUE = "past_due"  # the grace: everything works
    RESTRICTED = "restricted"  # reads alone
    SUSPENDED = "suspended"  # exports alone
    CANCELLED = "cancelled"  # the subscription is over; the data stays

    @property
    def badness(self) -> int:
        """Its place, to compare by."""
        return list(DunningState).index(self)


@dataclass(frozen=True, slots=True)
class Step:
    """A moment at which we write; most of them are also where the next state begins."""

    at: datetime
    state: DunningState


@dataclass(frozen=True, slots=True)
class Terms:
    """Days from the moment that an invoice is overdue: until writes stop, until all stops, and until the end."""

    restrict_after: int = 14
    suspend_after: int = 28
    cancel_after: int = 60

    def __post_init__(self) -> None:
        if not 0 < self.restrict_after < self.suspend_after < self.cancel_after:
            raise ValueError("Writes stop before everything does, and that before the end; none of it at once.")

    def state(self, overdue: datetime, now: datetime) -> DunningState:
        """The state at `now` of an invoice that is `overdue` since then. Retries do not matter."""
        reached = [state for state, at in self.begins(overdue).items() if at <= now]
        return reached[-1] if reached else DunningState.OK

    def begins(self, overdue: datetime) -> dict[DunningState, datetime]:
        """When each state begins, in order."""
        return {
            DunningState.PAST_DUE: overdue,
            DunningState.RESTRICTED: overdue + timedelta(days=self.restrict_after),
            DunningState.SUSPENDED: overdue + timedelta(days=self.suspend_after),
            DunningState.CANCELLED: overdue + timedelta(days=self.cancel_after),
        }

    def ladder(self, overdue: datetime) -> list[Step]:
        """When we write, in order: at each state's beginning, twice early in the grace, and before things get worse."""
        begins = self.begins(overdue)
        moments = {
            *begins.values(),
            overdue + timedelta(days=3),
            overdue + timedelta(days=7),
            *(at - timedelta(days=days) for state, at in begins.items() if at > overdue for days in _warned(state)),
        }
        return [Step(at, self.state(overdue, at)) for at in sorted(moments) if at >= overdue]


def _warned(state: DunningState) -> tuple[int, ...]:
    """How many days ahead we say that a state will begin."""
    return (15, 3) if state is DunningState.CANCELLED else (3,)


CARD = Terms()  # overdue since the first failure
TRANSFER = Terms(restrict_after=30, suspend_after=60, cancel_after=120)  # overdue since its date, and paid by people
