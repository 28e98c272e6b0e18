"""The terms of a period: what it is priced by, frozen when it ends, as values and as JSON."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from billing.money import month_after
from billing.plans import Allowance, Included


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a contract's ramp: so much is paid for the time from `start` to `end` at least, in minor units."""

    start: datetime
    end: datetime
    commit: int
    is_prepaid: bool


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a period, with the plan's version and the seats that were in force in it.

    `fee` is the fixed price of the whole month from `month[0]` to `month[1]`, which the part lies in.
    """

    start: datetime
    end: datetime
    month: tuple[datetime, datetime]
    plan_key: str
    plan_version: int
    fee: int
    seats: int
    allowances: Mapping[Allowance, Included]


@dataclass(frozen=True, slots=True)
class Terms:
    """What a period is priced by. Amounts are minor units of `currency`; rates have up to 12 decimals.

    `fee` is the fixed price of this period, 0 where somebody else collects it. `seats` are those bought, used or not.
    Where the period is no whole month, or the plan or the seats changed in it, `parts` says what held when.
    """

    plan_key: str
    plan_version: int
    currency: str
    fee: int
    seats: int
    allowances: Mapping[Allowance, Included]
    step: Step | None = None
    is_free: bool = False  # a trial
    parts: tuple[Part, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """As an invoice keeps it."""
        return {
            "plan": self.plan_key,
            "version": self.plan_version,
            "currency": self.currency,
            "fee": self.fee,
            "seats": self.seats,
            "is_free": self.is_free,
            "allowances": allowances_as_json(self.allowances),
            "step": None
            if self.step is None
            else {
                "start": self.step.start.isoformat(),
                "end": self.step.end.isoformat(),
                "commit": self.step.commit,
                "is_prepaid": self.step.is_prepaid,
            },
            **({"parts": [_part_as_json(part) for part in self.parts]} if self.parts else {}),
        }


def from_json(kept: Mapping[str, Any]) -> Terms:
    """What `as_json` made."""
    step = kept["step"]
    return Terms(
        plan_key=kept["plan"],
        plan_version=kept["version"],
        currency=kept["currency"],
        fee=kept["fee"],
        seats=kept["seats"],
        is_free=kept["is_free"],
        allowances=allowances_from_json(kept["allowances"]),
        step=None
        if step is None
        else Step(
            datetime.fromisoformat(step["start"]),
            datetime.fromisoformat(step["end"]),
            step["commit"],
            step["is_prepaid"],
        ),
        parts=tuple(_part_from_json(part) for part in kept.get("parts", [])),
    )


def _part_as_json(part: Part) -> dict[str, Any]:
    return {
        "start": part.start.isoformat(),
        "end": part.end.isoformat(),
        "month": [moment.isoformat() for moment in part.month],
        "plan": part.plan_key,
        "version": part.plan_version,
        "fee": part.fee,
        "seats": part.seats,
        "allowances": allowances_as_json(part.allowances),
    }


def _part_from_json(kept: Mapping[str, Any]) -> Part:
    start, end = (datetime.fromisoformat(moment) for moment in kept["month"])
    return Part(
        start=datetime.fromisoformat(kept["start"]),
        end=datetime.fromisoformat(kept["end"]),
        month=(start, end),
        plan_key=kept["plan"],
        plan_version=kept["version"],
        fee=kept["fee"],
        seats=kept["seats"],
        allowances=allowances_from_json(kept["allowances"]),
    )


def allowances_as_json(allowances: Mapping[Allowance, Included]) -> dict[str, Any]:
    """`{"operations": {"quantity": 5, "overage": "0.004"}}`; without overage there is no more to be had."""
    return {
        one.value: {"quantity": of.quantity, "overage": None if of.overage is None else f"{of.overage:f}"}
        for one, of in allowances.items()
    }


def allowances_from_json(kept: Mapping[str, Any]) -> dict[Allowance, Included]:
    """What `allowances_as_json` made."""
    return {
        Allowance(one): Included(of["quantity"], None if of["overage"] is None else Decimal(of["overage"]))
        for one, of in kept.items()
    }


def steps_of(*, starts_at: datetime, ends_at: datetime, steps: list[dict[str, int]], is_prepaid: bool) -> list[Step]:
    """The ramp in time. A contract that ends early cuts the step that runs, whose commit stays owed, and later ones."""
    result: list[Step] = []
    months = 0
    for step in steps:
        start, end = month_after(starts_at, months), month_after(starts_at, months + step["months"])
        if start < ends_at:
            result.append(Step(start, min(end, ends_at), step["commit"], is_prepaid))
        months += step["months"]
    return result


def step_at(moment: datetime, steps: list[Step]) -> Step | None:
    """The step that a moment is in."""
    return next((step for step in steps if step.start <= moment < step.end), None)
