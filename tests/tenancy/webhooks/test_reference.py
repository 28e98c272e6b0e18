"""The customers' page says what the catalogue and the engine do."""

import re
from pathlib import Path

import pytest
from django.conf import settings

from tenancy.webhooks import delivery, services
from tenancy.webhooks.reference import with_catalogue

PAGE = Path(settings.BASE_DIR) / "docs/webhooks.md"


def test_the_page_has_the_catalogue_as_it_is() -> None:
    text = PAGE.read_text()
    assert with_catalogue(text) == text, "Run `.venv/bin/python manage.py webhook_catalogue`."


def test_a_page_without_marks_is_refused() -> None:
    with pytest.raises(LookupError):
        with_catalogue("nothing")


def test_the_page_names_the_engine_s_own_figures() -> None:
    text = re.sub(r"\s+", " ", PAGE.read_text())
    hours = [seconds // 3600 for seconds in delivery.PAUSES[3:]]
    assert f"after 5 seconds, 5 minutes, 30 minutes, {', '.join(map(str, hours[:-1]))} and {hours[-1]} hours" in text
    assert delivery.PAUSES[:3] == (5, 300, 1800)
    assert f"within {delivery.TIMEOUT:g} seconds" in text
    assert (delivery.MOST_ATTEMPTS, services.KEPT.days, services.WAITS.days) == (10, 30, 7)
    assert (delivery.EACH, delivery.OF_ONE, delivery.SHOWN_OF_A_BODY) == (8, 24, 1000)
    assert "up to eight requests at once to an endpoint, 24 to an organization" in text
