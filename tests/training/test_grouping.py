import numpy as np
import polars as pl
import pytest
from scipy import stats

from kilter.service.detector import KilterError, Schema
from kilter.service.detector.calibration import Calibration
from kilter.service.detector.columns import BooleanColumn, CategoricalColumn, Column, NumericColumn, TimestampColumn
from kilter.service.detector.groups import judge
from kilter.service.detector.inputs import Table
from kilter.service.detector.schema import LeftOut
from kilter.training.expected import expected_flags
from kilter.training.grouping import calibrate_groups, grouped_by

SITE = CategoricalColumn("site", (), ())
SCHEMA = Schema(
    (NumericColumn("amount", center=0, scale=1, minimum=0, maximum=1), TimestampColumn("at", "iso", ("hour",))),
    10,
    (LeftOut("site", "excluded on request"),),
)


def table(sites: list[str | None]) -> Table:
    return Table({"site": np.array(sites, object)}, len(sites), [])


def test_the_rate_of_each_group_is_kept() -> None:
    """Groups with scores of their own: over calibration sets the realised rate of each is k / (n + 1)."""
    rng = np.random.default_rng(0)
    shifts = {"a": 0.0, "b": 3.0, "small": -2.0}
    sites: list[str | None] = [*["a"] * 150, *["b"] * 60, *["small"] * 10]
    means = np.array([shifts[site or ""] for site in sites])
    realised: dict[str, list[float]] = {"a": [], "b": []}
    for seed in range(400):
        groups = calibrate_groups(SITE, table(sites), rng.normal(means), 0.1, 6, seed=seed)
        for name, rates in realised.items():
            rates.append(float(stats.norm(shifts[name]).sf(groups.calibrations[name].threshold)))
    assert {name: own.size for name, own in groups.calibrations.items()} == {"a": 149, "b": 59, "small": 9}
    for name, rates in realised.items():
        size = groups.calibrations[name].size
        error = stats.beta.std(0.1 * (size + 1), 0.9 * (size + 1)) / np.sqrt(len(rates))
        assert np.mean(rates) == pytest.approx(0.1, abs=4 * error)


def test_groups_that_are_too_small_have_no_calibration() -> None:
    """They fall back to the common one, as records without a group do."""
    sites: list[str | None] = [*["a"] * 40, *["b"] * 18, *[None] * 40]
    groups = calibrate_groups(SITE, table(sites), np.arange(98.0), 0.05, 6, seed=0)
    assert {name: own.size for name, own in groups.calibrations.items()} == {"a": 39}
    common = Calibration.of(np.arange(98.0), 0.05, 6)
    found = judge(np.full(3, 50.0), table(["a", "b", None]), common, groups)
    assert found.p_value.tolist() == [1 / 40, *common.p_values(np.full(2, 50.0)).tolist()]


def test_the_number_of_flags_to_expect_adds_up_over_groups() -> None:
    """The interval holds 95 % of the sums of what each group's threshold flags."""
    rng = np.random.default_rng(1)
    sites: list[str | None] = [*["a"] * 300, *["b"] * 200, *[None] * 100]
    rows = table(sites)
    inside = 0
    for seed in range(100):
        scores = rng.normal(size=600)
        groups = calibrate_groups(SITE, rows, scores, 0.05, 6, seed=seed)
        common = Calibration.of(scores, 0.05, 6)
        low, high = expected_flags(rows, common, groups)
        # Rows of no group are judged by a calibration of all rows.
        inside += low <= int(judge(rng.normal(size=600), rows, common, groups).anomaly.sum()) <= high
    assert 88 <= inside <= 100


@pytest.mark.parametrize(
    ("cells", "column"),
    [
        (["north", "south", None], SITE),
        (["1", "2", "NA"], NumericColumn("site", center=0, scale=1, minimum=0, maximum=0, integer=True)),
        (["true", "False", ""], BooleanColumn("site", ("true",), ("false",))),
        ([True, False, None], BooleanColumn("site", ("true",), ("false",))),
        ([1.5, 2.0, None], NumericColumn("site", center=0, scale=1, minimum=0, maximum=0)),
    ],
)
def test_a_column_that_the_model_does_not_see_is_put_aside(cells: list[object], column: Column) -> None:
    """Records have it besides, read as what it is; it is no longer among those left out."""
    schema = grouped_by(SCHEMA, pl.DataFrame({"amount": [1, 2, 3], "site": cells}), "site")
    assert schema.aside == (column,)
    assert schema.names == ("amount", "at", "site")
    assert schema.columns == SCHEMA.columns
    assert schema.left_out == ()


def test_a_column_of_the_model_may_group_too() -> None:
    """Then the schema stays as it is."""
    assert grouped_by(SCHEMA, pl.DataFrame({"amount": [1, 2]}), "amount") == SCHEMA


@pytest.mark.parametrize(
    ("name", "label", "message"),
    [
        ("cite", None, "--group-by names 'cite', and there is no such column"),
        ("site", "site", "which is the label"),
        ("number", None, "'number' has 1,000 values, and at most 512 can group records"),
        ("at", None, "'at' holds times"),
    ],
)
def test_a_column_that_cannot_group_is_refused(name: str, label: str | None, message: str) -> None:
    """The message names it and the remedy."""
    frame = pl.DataFrame({"site": ["a"] * 1_000, "number": range(1_000), "at": ["2024-01-01"] * 1_000})
    with pytest.raises(KilterError, match=message):
        grouped_by(SCHEMA, frame, name, label)
