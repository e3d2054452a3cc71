import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kilter.service.detector.errors import Problem
from kilter.service.detector.inputs import Table, take


@given(st.lists(st.integers(0, 9)), st.sets(st.integers(0, 9)))
def test_rows_keep_their_values_and_problems(positions: list[int], bad: set[int]) -> None:
    """Picked by position, in any order and more than once, a problem goes with its row."""
    problems = [Problem(None, None, "of all"), *(Problem(row, "x", f"bad {row}") for row in sorted(bad))]
    found = take(Table({"x": np.arange(10.0)}, 10, problems), np.array(positions, np.int64))
    assert found.columns["x"].tolist() == positions
    assert found.rows == len(positions)
    assert [(p.row, p.message) for p in found.problems] == [
        (new, f"bad {old}") for new, old in enumerate(positions) if old in bad
    ]


def test_a_mask_picks_the_rows_where_it_is_true() -> None:
    """In their order."""
    found = take(Table({"x": np.arange(4.0)}, 4, []), np.array([True, False, False, True]))
    assert found.columns["x"].tolist() == [0.0, 3.0]
