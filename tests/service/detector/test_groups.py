from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilter.service.detector import Calibration
from kilter.service.detector.columns import BooleanColumn, CategoricalColumn, Column, NumericColumn
from kilter.service.detector.groups import Groups, Thresholds
from kilter.service.detector.inputs import Table
from kilter.service.detector.tail import Tail

SITE = CategoricalColumn("site", ("a", "b", "c"), (5, 5, 5))
RNG = np.random.default_rng(0)
COMMON = Calibration.of(RNG.normal(size=199), 0.05, 2)
GROUPS = Groups(
    SITE, {"a": Calibration.of(RNG.normal(5, 1, 99), 0.05, 2), "b": Calibration.of(RNG.normal(-5, 1, 39), 0.05, 2)}
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
    groups = Groups(SITE, {"a": Calibration.of(scores, 0.05, 2, tail), "b": Calibration.of(scores, 0.05, 2)})
    found = Thresholds(COMMON, groups).judge(np.full(2, 95.0), table(["a", "b"])).tail_probability
    assert found is not None
    assert found[0] == tail.probabilities(np.array([95.0]))[0]
    assert np.isnan(found[1])


@pytest.mark.parametrize(
    ("column", "cells", "names"),
    [
        (SITE, np.array(["a", None, "1"], object), ["a", None, "1"]),
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
