"""Counts of records add up, and what was added can be taken away."""

from hypothesis import given
from hypothesis import strategies as st

from kilter.service.formats.counting import Tally, added_tally, lessened_tally

COUNTS = st.integers(0, 9)
TALLIES = st.builds(
    lambda records, anomalies, errors, tested, known, blamed: Tally(
        records, anomalies, errors, f"of {errors}" * bool(errors), tested, known, blamed
    ),
    *[COUNTS] * 5,
    st.dictionaries(st.sampled_from("abc"), st.integers(1, 5)),
)


@given(TALLIES, TALLIES, TALLIES)
def test_tallies_add_up(a: Tally, b: Tally, c: Tally) -> None:
    """In any grouping, in their order, in which the first error and the fields are; nothing adds nothing."""
    assert added_tally(added_tally(a, b), c) == added_tally(a, added_tally(b, c))
    assert [*added_tally(a, b).blamed] == [*dict.fromkeys([*a.blamed, *b.blamed])]
    assert added_tally(a, Tally()) == a == added_tally(Tally(), a)
    assert added_tally(a, b).first_error == (a.first_error or b.first_error)


@given(TALLIES, TALLIES)
def test_what_was_added_can_be_taken_away(a: Tally, b: Tally) -> None:
    """From the end."""
    assert lessened_tally(added_tally(a, b), b) == a
