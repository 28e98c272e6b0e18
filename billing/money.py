"""Money: whole minor units to pay, exact decimals on the way there, and the months it is counted in."""

import calendar
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Context, Decimal, localcontext

DECIMALS = 12  # of a rate or a share in minor units; Stripe's `unit_amount_decimal` has as many
_QUANTUM = Decimal(1).scaleb(-DECIMALS)
_EXACT = Context(prec=60, rounding=ROUND_HALF_EVEN)  # a quantity of 2**63 times a rate has 32 digits
_SYMBOLS = {"usd": "$", "eur": "€", "gbp": "£"}


class CurrencyMismatch(Exception):
    """Amounts of two currencies were about to become one. A retry does not help."""


@dataclass(frozen=True, slots=True)
class Money:
    """An amount in minor units, a hundred to the major one; the currency in lower case, as Stripe writes it."""

    amount: int
    currency: str

    def __add__(self, other: "Money") -> "Money":
        """The sum. Raises CurrencyMismatch."""
        if self.currency != other.currency:
            raise CurrencyMismatch(f"{self.currency} and {other.currency} cannot be added.")
        return Money(self.amount + other.amount, self.currency)

    def __neg__(self) -> "Money":
        """What a credit of it is."""
        return Money(-self.amount, self.currency)

    def __str__(self) -> str:
        """As people read it: `$1,234.50`, `-$0.05`, `12.00 CHF`."""
        sign = "-" if self.amount < 0 else ""
        major, minor = divmod(abs(self.amount), 100)
        digits = f"{major:,}.{minor:02}"
        symbol = _SYMBOLS.get(self.currency)
        return f"{sign}{symbol}{digits}" if symbol else f"{sign}{digits} {self.currency.upper()}"


def times(rate: Decimal, quantity: int) -> Decimal:
    """What `quantity` units cost at `rate` minor units each, exactly."""
    return _EXACT.multiply(rate, Decimal(quantity))


def plus(one: Decimal, other: Decimal) -> Decimal:
    """The sum, exactly."""
    return _EXACT.add(one, other)


def round_line(exact: Decimal) -> tuple[int, Decimal]:
    """The whole minor units of an invoice line, half to even, and the remainder: their sum is `exact`.

    A line is rounded once, here. The remainder is kept with the line, so that sums can be proved.
    """
    with localcontext(_EXACT):
        whole = exact.to_integral_value(rounding=ROUND_HALF_EVEN)
        return int(whole), exact - whole


def prorate(amount: int, part: timedelta, whole: timedelta) -> Decimal:
    """The share of `amount` minor units that `part` of `whole` is, to 12 decimals, half to even.

    The shares of a period cut in two are the amount, exactly. Raises ValueError unless 0 <= part <= whole, whole > 0.
    """
    if not timedelta(0) <= part <= whole or not whole:
        raise ValueError(f"{part} is no part of {whole}.")
    microsecond = timedelta(microseconds=1)
    with localcontext(_EXACT):
        share = Decimal(amount) * (part // microsecond) / (whole // microsecond)
        return share.quantize(_QUANTUM)


def share(amount: int, part: int, whole: int) -> int:
    """The share of `amount` minor units that `part` of `whole` is, half to even. Raises ValueError for no part."""
    if not 0 <= part <= whole or not whole:
        raise ValueError(f"{part} is no part of {whole}.")
    with localcontext(_EXACT):
        return int((Decimal(amount) * part / whole).to_integral_value(rounding=ROUND_HALF_EVEN))


def month_after(anchor: datetime, n: int) -> datetime:
    """The same day and time, `n` months after `anchor` in UTC; where a month is too short, its last day.

    Count from the first anchor and not from month to month: then 31 January leads to 28 or 29 February and to 31 March.
    Raises ValueError for a moment without a time zone. UTC knows no summer time, so a day is always 24 hours.
    """
    if anchor.tzinfo is None:
        raise ValueError("A billing anchor has a time zone.")
    anchor = anchor.astimezone(UTC)
    years, month = divmod(anchor.year * 12 + anchor.month - 1 + n, 12)
    day = min(anchor.day, calendar.monthrange(years, month + 1)[1])
    return anchor.replace(year=years, month=month + 1, day=day)
