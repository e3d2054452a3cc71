"""Another target false-positive rate: the same scores, other thresholds, and promises that go with them."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from kilter.service.detector import Calibration, Detector, KilterError
from kilter.service.detector.calibration import Tail
from kilter.service.detector.columns import BooleanColumn, CategoricalColumn, Column, NumericColumn
from kilter.service.detector.inputs import Table
from kilter.service.detector.manifest import Choice, Promise
from kilter.service.detector.thresholds import Groups, Thresholds, at_rate, promise_of, smallest_rate
from tests.support import detectors

RATE = Choice("rate")
SITE = CategoricalColumn("site", ("a", "b"), (5, 5))


def promised(common: Calibration) -> Promise:
    """What a manifest says of a calibration."""
    return promise_of(Thresholds(common, None), RATE, "random")


@given(st.integers(19, 500), st.floats(1e-4, 0.5))
def test_a_rate_is_kept_or_refused(size: int, rate: float) -> None:
    """Everything is as if the artifact had been calibrated at that rate; too few records are told with their number."""
    common = Calibration.of(np.arange(float(size)), 0.1, 6)
    if rate < smallest_rate(size) - 1e-9:
        with pytest.raises(KilterError, match=f"calibration records; there are {size}, and the smallest rate"):
            at_rate(promised(common), Thresholds(common, None), rate)
        return
    (again, groups), promise = at_rate(promised(common), Thresholds(common, None), rate)
    expected = Calibration.of(common.scores, rate, 6)
    assert (again.rank, again.threshold, groups) == (expected.rank, expected.threshold, None)
    assert promise == promised(expected)
    upper = stats.beta.ppf(0.999, expected.rank, size + 1 - expected.rank)
    assert promise.upper_fpr == pytest.approx(upper, rel=1e-9)


@given(st.integers(1, 20_000))
def test_the_smallest_rate_that_is_told_is_one_that_is_taken(size: int) -> None:
    """As it is printed, and hardly above 1 / (n + 1)."""
    rate = float(f"{smallest_rate(size):g}")
    assert 1 / (size + 1) <= rate * (1 + 1e-12) <= (1 + 1e-4) / (size + 1)
    assert Calibration.of(np.zeros(size), rate, 6).rank == 1


@pytest.mark.parametrize("rate", [0.0, -0.1, 0.51, float("nan"), float("inf")])
def test_what_is_no_rate_is_refused(rate: float) -> None:
    """It is above 0 and at most a half."""
    common = Calibration.of(np.arange(99.0), 0.1, 6)
    with pytest.raises(KilterError, match=r"above 0 and at most 0\.5"):
        at_rate(promised(common), Thresholds(common, None), rate)


def test_groups_have_the_same_rate_and_those_too_small_the_common_threshold() -> None:
    """As from training: a group keeps a threshold of its own where its records support the rate."""
    common = Calibration.of(np.arange(199.0), 0.05, 6)
    groups = Groups(
        SITE, {"a": Calibration.of(np.arange(99.0), 0.05, 6), "b": Calibration.of(np.arange(100.0, 119.0), 0.05, 6)}
    )
    thresholds = Thresholds(common, groups)
    (_, own), promise = at_rate(promise_of(thresholds, RATE, "random"), thresholds, 0.01)
    assert own is not None
    assert own.calibrations.keys() == {"a"}
    assert own.calibrations["a"].threshold == 98.0
    assert promise.by_group is not None
    assert [(group.value, group.rank, group.threshold) for group in promise.by_group.groups] == [("a", 1, 98.0)]


def test_a_detector_at_another_rate_judges_by_it() -> None:
    """p-values and scores stay as they are, flags are those of the rate, and the first detector is as it was."""
    own = detectors.detector(0.05, 199, tail=True)
    rows = detectors.rows(300, 1, shift=1.0)
    before, other = own.score(rows), own.at_rate(0.2)
    after = other.score(rows)
    assert isinstance(other, Detector)
    assert np.array_equal(before.score, after.score)
    assert np.array_equal(before.p_value, after.p_value)
    assert np.array_equal(after.anomaly, after.p_value <= 0.2 + 1e-12)
    assert np.array_equal(own.score(rows).anomaly, before.anomaly)
    assert (other.calibration.target_fpr, other.manifest.calibration.target_fpr) == (0.2, 0.2)
    assert other.manifest.calibration.tail == own.manifest.calibration.tail


def test_the_manifest_gets_the_threshold_and_the_upper_rate() -> None:
    """The 99.9 % quantile of Beta(k, n + 1 - k)."""
    calibration = Calibration.of(np.arange(199.0), 0.05, 6)
    found = promise_of(Thresholds(calibration, None), RATE, "time")
    assert (found.size, found.rank, found.threshold, found.split) == (199, 10, 189.0, "time")
    assert (found.target_fpr, found.expected_fpr) == (0.05, 0.05)
    assert found.upper_fpr == pytest.approx(stats.beta.ppf(0.999, 10, 190))


def test_the_realised_rate_is_what_is_promised() -> None:
    """Over calibration sets its mean is k / (n + 1), and it exceeds the upper quantile once in a thousand."""
    rng = np.random.default_rng(0)
    rounds = 4_000
    sets = rng.random((rounds, 99))
    found = [promised(Calibration.of(scores, 0.05, 12)) for scores in sets]
    realised = np.array([1 - each.threshold for each in found])
    spread = stats.beta.std(5, 95) / np.sqrt(rounds)
    assert realised.mean() == pytest.approx(found[0].expected_fpr, abs=4 * spread)
    exceeded = int((realised > found[0].upper_fpr).sum())
    assert exceeded <= stats.binom.ppf(0.9999, rounds, 0.001)


SITES = CategoricalColumn("site", ("a", "b", "c"), (5, 5, 5))
RNG = np.random.default_rng(0)
COMMON = Calibration.of(RNG.normal(size=199), 0.05, 2)
GROUPS = Groups(
    SITES, {"a": Calibration.of(RNG.normal(5, 1, 99), 0.05, 2), "b": Calibration.of(RNG.normal(-5, 1, 39), 0.05, 2)}
)


def table(sites: list[Any], column: str = "site", dtype: Any = object) -> Table:
    return Table({column: np.array(sites, dtype)}, len(sites), [])


RECORDS = st.lists(
    st.tuples(st.sampled_from(["a", "b", "c", "never seen", None]), st.floats(-10, 10) | st.just(np.nan)), max_size=30
)


@given(RECORDS)
def test_a_record_is_judged_by_the_calibration_of_its_group_alone(records: list[tuple[str | None, float]]) -> None:
    """p-value, flag and threshold are those of a calibration of that group's scores; others have the common one."""
    sites, scores = [site for site, _ in records], np.array([score for _, score in records])
    found = Thresholds(COMMON, GROUPS).judge(scores, table(sites))
    assert found.threshold is not None
    for i, site in enumerate(sites):
        own = GROUPS.calibrations.get(site or "", COMMON)
        assert np.array_equal(found.p_value[i : i + 1], own.p_values(scores[i : i + 1]), equal_nan=True)
        assert found.anomaly[i] == own.anomalies(scores[i : i + 1])[0]
        assert found.threshold[i] == own.threshold


def test_without_groups_nothing_is_said_record_by_record() -> None:
    """All have the common threshold."""
    found = Thresholds(COMMON).judge(np.zeros(3), table([None] * 3))
    assert found.threshold is None
    assert found.tail_probability is None


def test_each_group_has_its_own_tail_or_none() -> None:
    """A record of a group without a tail has no tail probability, whatever the others have."""
    scores = np.arange(99.0)
    tail = Tail(89.0, 98.0, 0.1, 3.0, 0.1)
    groups = Groups(SITES, {"a": Calibration.of(scores, 0.05, 2, tail), "b": Calibration.of(scores, 0.05, 2)})
    found = Thresholds(COMMON, groups).judge(np.full(2, 95.0), table(["a", "b"])).tail_probability
    assert found is not None
    assert found[0] == tail.probabilities(np.array([95.0]))[0]
    assert np.isnan(found[1])


@pytest.mark.parametrize(
    ("column", "cells", "names"),
    [
        (SITES, np.array(["a", None, "1"], object), ["a", None, "1"]),
        (BooleanColumn("on", ("true",), ("false",)), np.array([1.0, np.nan, 0.0]), ["true", None, "false"]),
        (
            NumericColumn("line", center=0, scale=1, minimum=0, maximum=9),
            np.array([3.0, np.nan, -0.5]),
            ["3", None, "-0.5"],
        ),
    ],
)
def test_a_cell_and_the_name_of_its_group_mean_the_same(column: Column, cells: Any, names: list[str | None]) -> None:
    """Names are texts in the manifest; a missing value has none."""
    assert [column.group_name(cell) for cell in cells.tolist()] == names
    assert [column.group_value(name) for name in names if name is not None] == [cells[0], cells[2]]


@given(st.permutations(["1", "1.0", "1.00", "TRUE", "true", "b", None]))
def test_a_group_is_known_in_any_spelling_of_its_name(cells: list[str | None]) -> None:
    """The exact one first, where an old model has groups of two spellings; what is of no group has the common one."""
    names = {"1.0": "1.0", "true": "true", "1": "1", "1.00": "1.0", "TRUE": "true"}
    groups = Groups(SITES, {name: Calibration.of(np.arange(99.0), 0.05, 2) for name in ("1", "1.0", "true")})
    found: dict[str | None, str | None] = {}
    for rows, own in groups.members(table(cells)):
        name = next((name for name, one in groups.calibrations.items() if one is own), None)
        found |= {cells[row]: name for row in rows.tolist()}
    assert found.pop("1.00") in ("1", "1.0")
    assert found == {cell: names.get(cell or "") for cell in cells if cell != "1.00"}
