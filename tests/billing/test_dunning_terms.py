"""What happens when, after an invoice was not paid, follows from the terms, the first failure and the clock alone."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.dunning_terms import CONTRACT, STANDARD, DunningState, Terms

FAILED = datetime(2028, 2, 15, 8, 30, tzinfo=UTC)
DAY = timedelta(days=1)
ORDER = list(DunningState)
TERMS = st.builds(
    lambda net, a, b, c: Terms(net, a, a + b, a + b + c),
    st.integers(0, 90),
    st.integers(1, 60),
    st.integers(1, 60),
    st.integers(1, 90),
)


@pytest.mark.parametrize(
    ("terms", "day", "state"),
    [
        (STANDARD, -1, "ok"),
        (STANDARD, 0, "past_due"),
        (STANDARD, 13, "past_due"),
        (STANDARD, 14, "restricted"),
        (STANDARD, 27, "restricted"),
        (STANDARD, 28, "suspended"),
        (STANDARD, 59, "suspended"),
        (STANDARD, 60, "cancelled"),
        (STANDARD, 9999, "cancelled"),
        (CONTRACT, 29, "ok"),
        (CONTRACT, 30, "past_due"),
        (CONTRACT, 59, "past_due"),
        (CONTRACT, 60, "restricted"),
        (CONTRACT, 90, "suspended"),
        (CONTRACT, 150, "cancelled"),
    ],
)
def test_each_state_begins_on_its_day(terms: Terms, day: int, state: str) -> None:
    assert terms.state(FAILED, FAILED + day * DAY) == state


def test_the_standard_ladder_is_this() -> None:
    found = [((step.at - FAILED).days, step.state.value) for step in STANDARD.ladder(FAILED)]
    assert found == [
        (0, "past_due"), (3, "past_due"), (7, "past_due"), (11, "past_due"), (14, "restricted"), (25, "restricted"),
        (28, "suspended"), (45, "suspended"), (57, "suspended"), (60, "cancelled"),
    ]  # fmt: skip


@given(TERMS, st.lists(st.integers(-10, 400), min_size=2))
def test_time_alone_never_makes_it_better(terms: Terms, days: list[int]) -> None:
    states = [ORDER.index(terms.state(FAILED, FAILED + day * DAY)) for day in sorted(days)]
    assert states == sorted(states)


@given(TERMS)
def test_every_state_is_written_about_at_its_beginning_and_nothing_before_the_first(terms: Terms) -> None:
    ladder = terms.ladder(FAILED)
    moments = [step.at for step in ladder]
    assert moments == sorted(set(moments))
    assert set(terms.begins(FAILED).values()) <= set(moments)
    assert ladder[0].at == FAILED + terms.net * DAY
    assert all(step.state == terms.state(FAILED, step.at) for step in ladder)
    assert ladder[-1].state == "cancelled"


@pytest.mark.parametrize("days", [(-1, 1, 2, 3), (0, 0, 2, 3), (0, 2, 2, 3), (0, 1, 3, 3), (0, 5, 4, 9)])
def test_terms_without_sense_are_refused(days: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="Writes stop before"):
        Terms(*days)
