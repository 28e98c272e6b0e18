"""Refuses amounts, currencies and texts that make no sense, in one place."""

import re

from tenancy.errors import Invalid

LARGEST_AMOUNT = 10**12  # minor units
LONGEST_TEXT = 200
CURRENCY = re.compile(r"[a-z]{3}")


def check_amount(amount: int) -> None:
    """Raise Invalid unless the amount is above zero and within reason."""
    if not 0 < amount <= LARGEST_AMOUNT:
        raise Invalid("amount", f"An amount is a whole number of minor units, from 1 to {LARGEST_AMOUNT}.")


def check_currency(currency: str) -> None:
    """Raise Invalid unless it is written as Stripe does."""
    if not CURRENCY.fullmatch(currency):
        raise Invalid("currency", "A currency is three small letters, such as usd.")


def clean_text(field: str, text: str) -> str:
    """The text without outer blanks. Raises Invalid when nothing or too much remains."""
    text = text.strip()
    if not 1 <= len(text) <= LONGEST_TEXT or "\0" in text:
        raise Invalid(field, f"Write a {field} of 1 to {LONGEST_TEXT} characters.")
    return text
