import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilter.service.detector import Calibration, KilterError
from kilter.service.detector.calibration import fewest
from kilter.training.fitting.split import LARGEST, RATES, choose_size, largest_size, rows_needed, split, supported_rate

ROWS = st.integers(30, 200_000)


def is_whole(size: int, rate: float) -> bool:
    return abs(rate * (size + 1) - round(rate * (size + 1))) < 1e-9


@given(ROWS, st.sampled_from([*RATES, 0.2, 0.25, 0.5, 0.005, 0.04]))
def test_the_rate_comes_out_even(rows: int, rate: float) -> None:
    """For usual rates rate x (n + 1) is whole, n about a fifth of the rows; more than a third only if it has to be."""
    if rows < rows_needed(rate):
        return
    size = choose_size(rows, rate)
    step = round(1 / rate)
    assert is_whole(size, rate)
    assert fewest(rate) <= size <= max(min(rows // 3, LARGEST), fewest(rate))
    assert size <= rows // 2
    assert abs(size - min(rows / 5, LARGEST)) <= max(step, fewest(rate))


@given(ROWS, st.sampled_from([0.03, 0.007, 0.0123, 1 / 3, 0.0999]))
def test_an_odd_rate_comes_out_as_close_as_it_can(rows: int, rate: float) -> None:
    """The rate kept is never above the target, and above half of it."""
    if rows < rows_needed(rate):
        return
    size = choose_size(rows, rate)
    calibration = Calibration.of(np.arange(float(size)), rate, 6)
    assert rate / 2 < calibration.expected_fpr <= rate + 1e-9
    assert fewest(rate) <= size <= max(rows // 3, fewest(rate))
    assert size <= rows // 2


@pytest.mark.parametrize(
    ("rows", "rate", "size"),
    [
        (30, 0.1, 9),
        (38, 0.05, 19),
        (198, 0.01, 99),
        (57, 0.05, 19),
        (297, 0.01, 99),
        (1_000, 0.01, 199),
        (13_449, 0.01, 2_699),
        (10**6, 0.01, 9_999),
    ],
)
def test_sizes_of_some_tables(rows: int, rate: float, size: int) -> None:
    """The smallest table for each rate, usual ones, and the cap."""
    assert choose_size(rows, rate) == size


@given(ROWS)
def test_the_default_rate_is_the_smallest_that_the_rows_support(rows: int) -> None:
    """Any smaller one of the four would take more than a third of the rows."""
    rate = supported_rate(rows)
    assert fewest(rate) <= choose_size(rows, rate) <= rows // 3
    for smaller in RATES[: RATES.index(rate)]:
        assert fewest(smaller) > rows // 3


@given(st.floats(1e-4, 0.5))
def test_rows_needed_are_just_enough(rate: float) -> None:
    """With one row less the error names the number that is needed."""
    enough = rows_needed(rate)
    assert choose_size(enough, rate) >= fewest(rate)
    with pytest.raises(KilterError, match=f"at least {enough} normal rows in all"):
        choose_size(enough - 1, rate)


def test_too_few_rows_for_any_rate_are_refused() -> None:
    """The number needed is named."""
    with pytest.raises(KilterError, match="there are 29 normal rows to train on, and at least 30 are needed"):
        split(np.arange(29), None, 0, None)
    assert len(split(np.arange(30), None, 0, None).fit)


@pytest.mark.parametrize("rate", [0.0, -0.1, 0.51, 1.0, float("nan")])
def test_a_rate_that_makes_no_sense_is_refused(rate: float) -> None:
    """Above 0 and at most a half."""
    with pytest.raises(KilterError, match="above 0 and at most"):
        choose_size(1_000, rate)
    with pytest.raises(KilterError, match="above 0 and at most"):
        largest_size(1_000, rate)


@given(st.integers(0, 20_000), st.sampled_from(RATES))
def test_recalibration_uses_as_many_rows_as_come_out_even(rows: int, rate: float) -> None:
    """Fewer rows are left out than one step of n."""
    if rows < fewest(rate):
        with pytest.raises(KilterError, match=f"needs at least {fewest(rate)} calibration rows; there are {rows}"):
            largest_size(rows, rate)
        return
    size = largest_size(rows, rate)
    assert is_whole(size, rate)
    assert 0 <= rows - size < round(1 / rate)
