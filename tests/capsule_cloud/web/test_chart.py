"""The usage chart."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capsule_cloud.web.chart import HEIGHT, WIDTH, last_days, nice_ceiling, short_number, stacked

METERS = {"ingest": "Turns ingested", "recall": "Recalls"}
LAST = date(2026, 3, 31)


def test_bars_stack_from_the_bottom_to_the_days_total() -> None:
    chart = last_days([(LAST, "ingest", 30), (LAST, "recall", 10)], meters=METERS, last_day=LAST, days=30)
    last = chart.columns[-1]
    assert last.total == 40
    assert last.bars[0].y + last.bars[0].height == pytest.approx(HEIGHT)
    assert last.bars[1].y + last.bars[1].height == pytest.approx(last.bars[0].y)
    assert [series.total for series in chart.series] == [30, 10]
    assert len(chart.columns) == 30


def test_a_meter_keeps_its_colour_when_others_are_absent() -> None:
    chart = last_days([(LAST, "recall", 1)], meters=METERS, last_day=LAST)
    assert [series.css for series in chart.series] == ["meter-2"]


def test_days_outside_the_range_are_left_out() -> None:
    chart = last_days([(LAST - timedelta(days=30), "ingest", 5)], meters=METERS, last_day=LAST, days=30)
    assert chart.total == 0
    assert "nothing" in chart.description


def test_the_description_says_it_all_in_one_sentence() -> None:
    chart = last_days([(LAST, "ingest", 1200)], meters=METERS, last_day=LAST)
    assert chart.description == "From 02 March to 31 March 2026: 1,200 turns ingested."


def test_a_week_of_hours_fits_into_the_frame_without_overlap() -> None:
    hours = [datetime(2026, 3, 1, tzinfo=UTC) + timedelta(hours=n) for n in range(168)]
    chart = stacked([(hour, "ingest", 3) for hour in hours], names=METERS, moments=hours, grain="hour")
    bars = [column.bars[0] for column in chart.columns]
    assert all(left.x + left.width < right.x for left, right in pairwise(bars))
    assert chart.title == "Calls by hour"
    assert chart.columns[13].name == "Sun 01 Mar, 13:00"


def test_a_correction_lowers_the_numbers_and_draws_no_bar_below_the_axis() -> None:
    chart = last_days([(LAST, "ingest", -4), (LAST, "recall", 10)], meters=METERS, last_day=LAST)
    assert chart.total == 6
    assert [bar.css for bar in chart.columns[-1].bars] == ["meter-2"]


@given(st.integers(min_value=0, max_value=10**12))
def test_the_scale_is_never_below_the_highest_bar(highest: int) -> None:
    top = nice_ceiling(highest)
    assert highest <= top <= max(4, highest * 2.6)


@given(st.lists(st.integers(min_value=0, max_value=10**9), min_size=30, max_size=30))
def test_no_bar_leaves_the_frame(quantities: list[int]) -> None:
    usage = [(LAST - timedelta(days=n), "ingest", quantity) for n, quantity in enumerate(quantities)]
    for day in last_days(usage, meters=METERS, last_day=LAST).columns:
        for bar in day.bars:
            assert bar.y >= -0.1
            assert bar.x + bar.width <= WIDTH


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (950, "950"), (1500, "1.5k"), (12000, "12k"), (3_000_000, "3M"), (2.5e9, "2.5G")]
)
def test_axis_numbers_are_short(value: float, text: str) -> None:
    assert short_number(value) == text
