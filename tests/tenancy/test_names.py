"""Names are what can be shown on one line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenancy.errors import Invalid
from tenancy.names import LONGEST, clean_name


@given(name=st.text(max_size=LONGEST + 10))
def test_a_name_is_kept_as_it_is_but_for_the_blanks_around_it(name: str) -> None:
    try:
        clean = clean_name(name, "thing")
    except Invalid as refusal:
        assert "thing" in str(refusal)  # noqa: PT017  # both ways out are the subject
        return
    assert clean == name.strip()
    assert 1 <= len(clean) <= LONGEST
    assert len(clean.splitlines()) == 1
    assert "\0" not in clean


@pytest.mark.parametrize("name", ["می‌خواهم", "👩‍👩‍👧", "Ünïcode", "a b", "x" * LONGEST])
def test_joiners_and_accents_are_part_of_a_name(name: str) -> None:
    assert clean_name(name, "thing") == name
