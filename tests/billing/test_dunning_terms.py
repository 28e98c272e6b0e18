"""What happens when, while an invoice is overdue, follows from the terms, its date and the clock alone."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.dunning_terms import CARD, TRANSFER, DunningState, Terms

FAILED = datetime(2028, 2, 15, 8, 30, tzinfo=UTC)
DAY = timedelta(days=1)
ORDER = list(DunningState)
TERMS = st.builds(
    lambda a, b, c: Terms(a, a + b, a + b + c),
    st.integers(1, 60),
    st.integers(1, 60),
    st.integers(1, 90),
)


@pytest.mark.parametrize(
    ("terms", "day", "state"),
    [
        (CARD, -1, "ok"),
        (CARD, 0, "past_due"),
        (CARD, 13, "past_due"),
        (CARD, 14, "restricted"),
        (CARD, 27, "restricted"),
        (CARD, 28, "suspended"),
        (CARD, 59, "suspended"),
        (CARD, 60, "cancelled"),
        (CARD, 9999, "cancelled"),
        (TRANSFER, -1, "ok"),
        (TRANSFER, 0, "past_due"),
        (TRANSFER, 29, "past_due"),
        (TRANSFER, 30, "restricted"),
        (TRANSFER, 60, "suspended"),
        (TRANSFER, 120, "cancelled"),
    ],
)
def test_each_state_begins_on_its_day(terms: Terms, day: int, state: str) -> None:
    assert terms.state(FAILED, FAILED + day * DAY) == state


def test_the_ladder_for_a_card_is_this() -> None:
    found = [((step.at - FAILED).days, step.state.value) for step in CARD.ladder(FAILED)]
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
    assert ladder[0].at == FAILED
    assert all(step.state == terms.state(FAILED, step.at) for step in ladder)
    assert ladder[-1].state == "cancelled"


@pytest.mark.parametrize("days", [(0, 2, 3), (-1, 2, 3), (2, 2, 3), (1, 3, 3), (5, 4, 9)])
def test_terms_without_sense_are_refused(days: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="Writes stop before"):
        Terms(*days)
