"""The plans' page is what the catalogue says."""

from decimal import Decimal
from pathlib import Path

import pytest
from django.conf import settings

from billing.plan_words import page, price_of_more, quantity
from billing.plans import GB, Allowance, Included

PAGE = Path(settings.BASE_DIR) / "docs/plans.md"


def test_the_page_of_plans_is_current() -> None:
    assert PAGE.read_text() == page(), "Run `.venv/bin/python manage.py plan_catalogue --write`."


@pytest.mark.parametrize(
    ("allowance", "units", "words"),
    [
        (Allowance.OPERATIONS, 1_250_000, "1,250,000"),
        (Allowance.STORED_BYTES, 1_000 * GB, "1,000 GB"),
        (Allowance.STORED_BYTES, 1_500_000_000, "1.5 GB"),
    ],
)
def test_a_quantity_reads_as_people_count_it(allowance: Allowance, units: int, words: str) -> None:
    assert quantity(allowance, units) == words


@pytest.mark.parametrize(
    ("allowance", "rate", "words"),
    [
        (Allowance.OPERATIONS, "0.012", "$0.12 for 1,000 operations"),
        (Allowance.OPERATIONS, "0.0012", "1.2¢ for 1,000 operations"),
        (Allowance.STORED_BYTES, "0.000000025", "$0.25 for a GB a month"),
        (Allowance.SEATS, "900", "$9.00 for a seat a month"),
        (Allowance.SEATS, None, ""),
    ],
)
def test_a_rate_is_told_for_as_much_as_people_use(allowance: Allowance, rate: str | None, words: str) -> None:
    included = Included(1, None if rate is None else Decimal(rate))
    assert price_of_more(allowance, included, "usd") == words
