"""How large a batch may be, and how long what is in flight will take."""

import math

from hypothesis import given
from hypothesis import strategies as st

from kilter.service.judging.queue import BATCH_SECONDS, REMEMBERED, Pace

seconds = st.floats(1e-5, 0.5)
rows = st.integers(1, 1000)


@given(seconds, seconds, st.lists(st.floats(0.0, 1.0), max_size=40))
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


@given(st.lists(st.tuples(seconds, rows), min_size=1, max_size=20), rows, rows)
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
