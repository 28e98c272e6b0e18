"""The line of a period: it only rises with use, ends where the forecast says, and shows a cap that is near."""

from datetime import UTC, date, datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.quotas.forecasts import Forecast
from capsule_cloud.web.chart import HEIGHT, WIDTH
from capsule_cloud.web.trend import Trend, trend

FIRST = date(2026, 11, 1)


def foretold(used: int, expected: int, limit: int | None = None) -> Forecast:
    moment = datetime(2026, 11, 10, tzinfo=UTC)
    return Forecast(
        used=used,
        expected=expected,
        low=expected - expected // 10,
        high=expected + expected // 10,
        limit=limit,
        reaches_at=None,
        earliest_at=None,
        latest_at=None,
        starts_at=moment,
        ends_at=moment,
        as_of=moment,
    )


def points(path: str) -> list[tuple[float, float]]:
    words = path.replace("M", "").replace("L", "").replace("Z", "").split()
    return [(float(x), float(y)) for x, y in zip(words[::2], words[1::2], strict=True)]


def drawn(daily: list[int], days: int = 30, expected: int | None = None, limit: int | None = None) -> Trend:
    used = sum(daily)
    return trend(daily=daily, first=FIRST, days=days, foretold=foretold(used, expected or used, limit))


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=31), st.integers(1, 31))
def test_the_line_never_falls_and_stays_in_its_frame(daily: list[int], days: int) -> None:
    line = points(drawn(daily, days).line)
    assert all(later[1] <= earlier[1] for earlier, later in pairwise(line))
    assert all(0 <= x <= WIDTH and -0.01 <= y <= HEIGHT for x, y in line)


def test_the_forecast_begins_today_and_ends_with_the_period() -> None:
    found = drawn([100] * 10, expected=3_000)
    (x, y), (end_x, end_y) = points(found.forecast)
    assert (x, y) == points(found.line)[-1]
    assert end_x == WIDTH
    assert end_y < y
    band = points(found.band)
    assert band[1][1] < end_y < band[2][1]


def test_a_period_that_is_over_has_no_forecast() -> None:
    found = drawn([1] * 30)
    assert (found.forecast, found.band) == ("", "")


@pytest.mark.parametrize(("limit", "is_drawn"), [(None, False), (4_000, True), (100, True), (10**9, False)])
def test_a_cap_is_drawn_where_it_would_not_flatten_the_line(limit: int | None, is_drawn: bool) -> None:
    found = drawn([100] * 10, expected=3_000, limit=limit)
    assert (found.cap_y is not None) == is_drawn
    assert found.cap_y is None or 0 <= found.cap_y <= HEIGHT


def test_one_sentence_says_it_to_who_does_not_see_it() -> None:
    assert drawn([600, 400], expected=15_000, limit=25_000).description == (
        "From 01 November to 02 November 2026: 1,000 used. At this pace 15,000 by the end of the period, "
        "probably from 13,500 to 16,500. 25,000 are included."
    )
