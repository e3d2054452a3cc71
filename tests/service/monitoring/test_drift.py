"""Drift: what it says of traffic that has drifted and of traffic that has not, and what its window holds."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilter.service.detector.columns import Feature
from kilter.service.detector.modalities.base import Watched
from kilter.service.detector.reference import BINS, UNREACHED, Reference, histogram
from kilter.service.monitoring.drift import BLOCK_RECORDS, BLOCK_SECONDS, BLOCKS, FieldTally, excess

SHARES = np.array([[0.1] * 9 + [0.06, 0.03, 0.01]])


class Clock:
    """A clock that stands until it is moved."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def tally(clock: Clock) -> FieldTally:
    """Of one field, uniform on [0, 1), in deciles."""
    edges = np.array([[*np.arange(1, BINS) / BINS, UNREACHED]], np.float32)
    shares = np.array([[0.1] * BINS + [0.0, 0.0]])
    return FieldTally(Reference(edges, shares, 10_000), [Watched("x", 0, Feature(0, "gaussian"), low=0, high=1)], clock)


def column(values: list[float]) -> npt.NDArray[np.float32]:
    """Encoded records of one field."""
    return np.array(values, np.float32)[:, None]


@pytest.mark.parametrize("rows", [500, 5_000])
@pytest.mark.parametrize("records", [100, 300, 1_000, 5_000])
def test_without_drift_it_is_nothing_on_average_whatever_the_window(records: int, rows: int) -> None:
    """Where the population stability index would say 0.1 of a short window."""
    rng = np.random.default_rng(0)
    found = [
        excess(rng.multinomial(records, SHARES[0])[None], records, rng.multinomial(rows, SHARES[0])[None] / rows, rows)
        for _ in range(1_000)
    ]
    assert abs(np.mean(found)) < 0.01
    if records >= 500:
        assert np.quantile(found, 0.999) < 0.1


def test_a_small_shift_is_worth_its_population_stability_index() -> None:
    """To second order, so that the usual levels hold."""
    shifted = SHARES[0] * np.linspace(0.9, 1.1, 12)
    shifted /= shifted.sum()
    stability = float(((shifted - SHARES[0]) * np.log(shifted / SHARES[0])).sum())
    found = excess((shifted * 1e12).astype(np.int64)[None], 10**12, SHARES, 10**12)
    assert found[0] == pytest.approx(stability, rel=0.01)


def test_two_distributions_that_never_meet_are_4_apart() -> None:
    """However rare an empty bin was: the value is finite."""
    never = np.zeros((1, 12), np.int64)
    never[0, BINS] = 10**9
    shares = np.append(np.full(10, 0.1), [0.0, 0.0])[None]
    assert excess(never, 10**9, shares, 10**9)[0] == pytest.approx(4, abs=1e-6)


@given(st.lists(st.lists(st.floats(0, 1, width=32) | st.just(float("nan")), min_size=1, max_size=50), max_size=40))
def test_it_counts_what_was_added(batches: list[list[float]]) -> None:
    """Sooner or later, by batch or one by one."""
    found = tally(Clock())
    for batch in batches:
        found.add(column(batch))
    found.settle()
    together = [value for batch in batches for value in batch]
    assert found.records == len(together)
    assert found.missing.tolist() == [int(np.isnan(together).sum())]
    assert found.unseen.tolist() == [0]


def test_the_histogram_counts_a_value_on_an_edge_above_it() -> None:
    """Bin i holds what reaches i edges and not more."""
    edges = np.array([[0.5] + [UNREACHED] * 9, [0.5, 1.5] + [2.5] * 8], np.float32)
    x = np.array([[0.5, 3.0], [0.4, 1.0], [np.nan, np.nan], [9.0, 0.0]], np.float32)
    found = histogram(x, edges)
    assert found[0].tolist() == [1, 2, *[0] * 9, 1]
    assert found[1].tolist() == [1, 1, *[0] * 8, 1, 1]


def test_what_has_left_the_window_is_forgotten() -> None:
    """A window is made of blocks, each of enough records and enough time."""
    clock = Clock()
    found = tally(clock)

    def pass_block(value: float) -> None:
        found.add(column([value] * BLOCK_RECORDS))
        clock.now += BLOCK_SECONDS
        found.settle()

    for _ in range(BLOCKS):
        pass_block(0.05)
    assert found.drift()[0] > 1
    rng = np.random.default_rng(0)
    for _ in range(BLOCKS):
        found.add(column(rng.random(BLOCK_RECORDS).tolist()))
        clock.now += BLOCK_SECONDS
        found.settle()
    assert abs(found.drift()[0]) < 0.05
    assert found.records == BLOCK_RECORDS * (BLOCKS - 1)


def test_a_busy_minute_and_an_idle_day_are_one_block() -> None:
    """A block ends when it has lasted and holds enough, so that neither rate empties the window."""
    clock = Clock()
    found = tally(clock)
    for _ in range(100):
        found.add(column([0.5] * 1_000))
    assert found.records > 95_000
    clock.now += 86_400
    for _ in range(BLOCK_RECORDS // 2):
        clock.now += 86_400
        found.add(column([0.5]))
        found.settle()
    assert found.records == 100_000 + BLOCK_RECORDS // 2


def test_new_and_missing_values_of_the_window_are_counted() -> None:
    """Beyond the range of the fitting rows on either side; they are forgotten with the window."""
    clock = Clock()
    found = tally(clock)
    found.add(column([-0.5, 0.0, 0.5, 1.0, 1.5, float("nan")]))
    found.settle()
    assert (found.new_of_late.tolist(), found.missing_of_late.tolist()) == ([2], [1])
    assert found.latest.shape == (6, 1)
    for _ in range(BLOCKS + 1):
        found.add(column([0.5] * BLOCK_RECORDS))
        clock.now += BLOCK_SECONDS
        found.settle()
    assert (found.new_of_late.tolist(), found.missing_of_late.tolist()) == ([0], [0])
    assert found.missing.tolist() == [1]


def test_before_the_first_record_there_is_no_drift() -> None:
    """Not even none."""
    assert np.isnan(tally(Clock()).drift()).all()
