"""Records of several requests are judged together, and each request gets its own verdicts or its own error."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilter.service.detector import Problem
from kilter.service.detector.inputs import cut
from kilter.service.judging.batch import moved, part, refusal, refuse, refuse_all, whole
from kilter.service.models.registry import Registry
from kilter.service.monitoring.metrics import Metrics
from kilter.service.problems import BAD_RECORDS, LISTED, RequestError
from kilter.service.request import Notes
from tests.service.judging.test_verdicts import TAIL, detector, groups
from tests.support import serving
from tests.support.serving import RECORD, STRANGE

PROBLEMS = st.lists(st.builds(Problem, st.none() | st.integers(0, 9), st.none() | st.just("amount"), st.just("wrong")))


def refused(work: Callable[[Any, Notes], None]) -> tuple[RequestError, Notes]:
    """What a piece of work is refused with, and what is noted of the request."""
    registry, notes = Registry(Metrics(), [serving.detector()]), Notes()
    model = registry.get("shop")
    assert model is not None
    with pytest.raises(RequestError) as caught:
        work(model, notes)
    assert caught.value.kind == BAD_RECORDS
    return caught.value, notes


@pytest.mark.parametrize("reasons", [0, 2])
@pytest.mark.parametrize("grouped", [False, True])
def test_verdicts_in_parts_make_the_whole(reasons: int, grouped: bool) -> None:
    """Every column of them, and of the table that they are on."""
    model = detector(groups() if grouped else None, TAIL)
    table = model.table([RECORD | {"amount": float(i), "colour": "blue"} for i in range(9)] + [STRANGE])
    verdicts = model.score(table, reasons=reasons)
    ends = (0, 1, 4, 10)
    found = whole([part(verdicts, start, stop) for start, stop in pairwise(ends)])
    judged = whole([model.score(cut(table, start, stop), reasons=reasons) for start, stop in pairwise(ends)])
    for made in (found, judged):
        assert made.reasons == verdicts.reasons
        for one, other in zip(made, verdicts, strict=True):
            if isinstance(other, np.ndarray) and isinstance(one, np.ndarray):
                assert np.array_equal(one, other, equal_nan=True)
            else:
                assert one == other


@given(PROBLEMS, st.integers(0, 100))
def test_problems_move_with_their_records(problems: list[Problem], rows: int) -> None:
    """By the records that come before; what is wrong with the whole has no place to move to."""
    for before, after in zip(problems, moved(problems, rows), strict=True):
        assert after.row == (None if before.row is None else before.row + rows)
        assert after[1:] == before[1:]


def test_a_refusal_says_how_many_records_are_wrong() -> None:
    """Several problems of one record count once; a flood of them is cut off and said to be."""
    two, one = Problem(1, "amount", "wrong"), Problem(1, None, "wrong too")
    assert refusal([two, one]).detail.startswith("1 record does not fit")
    assert refusal([two, one, two._replace(row=2)]).detail.startswith("2 records do not fit")
    flood = refusal([two._replace(row=row) for row in range(LISTED + 1)])
    assert (
        flood.detail == f"more than {LISTED:,} problems, of which the first {LISTED:,} are listed; no record was judged"
    )


def test_no_records_are_refused() -> None:
    """A request has at least one, and nothing is counted as rejected."""
    error, notes = refused(lambda model, notes: refuse(model, [], notes))
    assert "send at least one" in error.detail
    assert notes.rejected == 0


def test_every_problem_of_every_table_is_listed() -> None:
    """With the place of its record in the request, over all of its tables."""
    table = serving.detector().table([RECORD, RECORD | {"amount": "many"}])
    assert len(table.problems) == 1
    error, notes = refused(lambda model, notes: refuse_all(model, [table, table], notes))
    assert [problem.row for problem in error.problems] == [1, 3]
    assert notes.rejected == 2
