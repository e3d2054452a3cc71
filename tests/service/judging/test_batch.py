"""How large a batch may be and how long it takes; each request in it gets its own verdicts or its own error."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilter.service.detector import Problem
from kilter.service.detector.inputs import cut
from kilter.service.judging.batch import (
    BATCH_SECONDS,
    REMEMBERED,
    Pace,
    moved,
    part,
    refusal,
    refuse,
    refuse_all,
    whole,
)
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


SECONDS = st.floats(1e-5, 0.5)
ROWS = st.integers(1, 1000)


@given(SECONDS, SECONDS, st.lists(st.floats(0.0, 1.0), max_size=40))
def test_no_batch_takes_much_longer_than_the_bound(fixed: float, each: float, shares: list[float]) -> None:
    """Whatever a batch and each of its records take, and however full batches are; one record it always has."""
    pace = Pace()
    for share in shares:
        size = max(1, round(pace.most * share))
        took = fixed + each * size
        assert size == 1 or took <= 2 * BATCH_SECONDS
        pace.learn(took, size)


def test_what_a_batch_takes_as_a_whole_does_not_keep_batches_small() -> None:
    """Full batches that take half of the bound, whatever they hold, become twice as large each time."""
    pace = Pace()
    for _ in range(12):
        pace.learn(BATCH_SECONDS / 2, pace.most)
    assert pace.most >= 1024


def test_one_slow_batch_is_believed_at_once_and_soon_forgotten() -> None:
    """A machine that stood still for a moment costs a few small batches, not more."""
    pace = Pace()
    pace.learn(1e-3, 100)
    assert pace.most == 10_000
    pace.learn(10.0, 100)
    assert pace.most == 1
    pace.learn(1e-5, 1)
    assert pace.most == 10_000


@given(st.lists(st.tuples(SECONDS, ROWS), min_size=1, max_size=20), ROWS, ROWS)
def test_more_records_are_expected_to_take_no_less(batches: list[tuple[float, int]], few: int, more: int) -> None:
    """As a batch, and as those that wait behind what is in flight."""
    pace = Pace()
    for one in batches:
        pace.learn(*one)
    pace.queued = 1
    assert pace.expected(few) <= pace.expected(few + more)
    assert pace.wait(few) <= pace.wait(few + more) * (1 + 1e-9)


def test_what_is_expected_is_told_by_the_fastest_of_the_last_batches() -> None:
    """Before the first one nothing is, and older ones do not count."""
    pace = Pace()
    assert pace.expected(1) == math.inf
    pace.learn(0.001, 1)
    pace.learn(0.01, 1)
    assert pace.expected(1) == 0.001
    for _ in range(REMEMBERED):
        pace.learn(0.02, 1)
    assert pace.expected(2) == 0.04


def test_nobody_waits_where_nothing_is_in_flight() -> None:
    """However slow the last batch was: it may have been the last slow one."""
    pace = Pace()
    pace.learn(100.0, 1)
    assert pace.wait(10) == 0
    pace.queued = 5
    assert pace.wait(5) == 1000.0
