"""Tests of `evaluation.baselines`: synthetic anomalies, figures that are right, and a warning only where it is due."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kilter.service.detector.arrays import Matrix
from kilter.service.detector.columns import BooleanColumn, CategoricalColumn, Feature, NumericColumn
from kilter.service.detector.findings import Baseline, DetectorComparison
from kilter.service.detector.pictures.column import ImageColumn
from kilter.service.detector.schema import Schema
from kilter.service.detector.scores import detector_names
from kilter.training.evaluation.baselines import (
    AREA,
    DETECTORS,
    OPTIONS,
    SIDE,
    baseline_warning,
    compare,
    compared_rows,
    gain,
    one_hot,
    pasted,
    reduced,
    swapped,
)
from kilter.training.modality import PictureTraining, TableTraining

FEATURES = (*(Feature(i, "gaussian") for i in range(4)), Feature(4, "flag"), Feature(5, "level", 3))
SCHEMA = Schema(
    (
        *(NumericColumn(str(i), 0, 1, -1, 1) for i in range(4)),
        BooleanColumn("flag", (), ()),
        CategoricalColumn("level", ("a", "b", "c"), (1, 1, 1)),
    ),
    300,
)
KIND = TableTraining().simplification(SCHEMA)


def rows(count: int, seed: int) -> Matrix:
    """Encoded rows whose second half of the numbers follows the first, with a flag, a level and missing values."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(count, 2))
    x = np.column_stack([z, z + 0.05 * rng.normal(size=z.shape), z[:, 0] > 0, rng.integers(3, size=count)])
    x[::19, 1] = np.nan
    return x.astype(np.float32)


def blind(x: Matrix) -> npt.NDArray[np.float64]:
    """A score that knows nothing."""
    return np.random.default_rng(0).random(len(x))


def knowing(x: Matrix) -> npt.NDArray[np.float64]:
    """A score that knows how the rows are made."""
    return np.asarray(np.nansum(np.abs(x[:, :2] - x[:, 2:4]), axis=1), np.float64)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_swapped_rows_hold_values_of_other_rows_and_differ_from_every_base(seed: int) -> None:
    """Each column keeps to the values that it had, features of a column move together, and no row is left as it was."""
    normal = rows(50, seed)
    features = (*FEATURES[:5], Feature(4, "level", 3))
    made = swapped(features, normal, np.random.default_rng(seed))
    assert 0 < len(made) <= len(normal)
    for column in range(5):
        at = [i for i, feature in enumerate(features) if feature.column == column]
        allowed = {row.tobytes() for row in normal[:, at]}
        assert {row.tobytes() for row in made[:, at]} <= allowed
    assert not {row.tobytes() for row in made} & {row.tobytes() for row in normal}


def test_rows_that_are_all_alike_have_nothing_to_swap() -> None:
    """Then there is no comparison, rather than a wrong one."""
    same = np.ones((40, 6), np.float32)
    assert len(swapped(FEATURES, same, np.random.default_rng(0))) == 0
    assert compare(blind, same, same, same[:0], KIND, 0) is None


def test_levels_are_one_hot_and_missing_values_the_mean() -> None:
    """An unseen level and a missing one are no level at all."""
    features = (Feature(0, "gaussian"), Feature(1, "level", 2))
    x = np.array([[1.5, 0], [np.nan, 1], [0.5, 2], [0.5, np.nan]], np.float32)
    assert one_hot(features, x).tolist() == [[1.5, 1, 0], [0, 0, 1], [0.5, 0, 0], [0.5, 0, 0]]


def test_a_better_baseline_is_said_to_be_better() -> None:
    """Against a score that knows nothing, on rows with swapped fields; the model comes first in the table."""
    found = compare(blind, rows(300, 0), rows(200, 1), rows(0, 2), KIND, 0)
    assert found is not None
    assert found.basis == "swapped fields"
    assert [one.name for one in found.detectors] == ["Kilter", *DETECTORS]
    (warning,) = baseline_warning(found)
    best = max(found.detectors[1:], key=lambda one: one.auroc)
    assert f"A simple detector does better: {best.name}" in warning
    assert f"train with --detector {best.option}," in warning


def test_an_option_is_named_where_there_is_one() -> None:
    """Each simple detector of a table is one that users can choose; of pictures none is."""
    assert {*OPTIONS} == {*DETECTORS}
    assert {*OPTIONS.values()} <= {*detector_names()}
    picture = DetectorComparison((Baseline("Kilter", 0.7, 0.5), Baseline("a", 0.9, 0.8, 0.2, 0.01)), "labels", 99, 20)
    (warning,) = baseline_warning(picture)
    assert "For anomalies like these prefer it, or bring more" in warning
    assert not PictureTraining().simplification(Schema((ImageColumn("x", 8, 8, 1),), 99)).selectable


def test_labels_are_used_where_there_are_enough() -> None:
    """A score that knows how rows are made is beaten by none."""
    odd = rows(60, 2)
    odd[:, 2:4] += 1
    found = compare(knowing, rows(300, 0), rows(200, 1), odd, KIND, 0)
    assert found is not None
    assert found.basis == "labels"
    assert found.detectors[0].auroc == pytest.approx(1.0)
    assert baseline_warning(found) == baseline_warning(None) == []
    few = compare(knowing, rows(300, 0), rows(200, 1), odd[:9], KIND, 0)
    assert few is not None
    assert few.basis == "swapped fields"


def test_a_difference_within_noise_is_no_news() -> None:
    """Nor is a certain one that nobody would notice."""
    ours = Baseline("Kilter", 0.90, 0.8)
    for other in (Baseline("a", 0.93, 0.8, 0.03, 0.02), Baseline("b", 0.901, 0.8, 0.001, 0.0001)):
        assert baseline_warning(DetectorComparison((ours, other), "labels", 100, 20)) == []
    certain = DetectorComparison((ours, Baseline("c", 0.93, 0.8, 0.03, 0.01)), "labels", 100, 20)
    assert len(baseline_warning(certain)) == 1


def test_the_gain_is_the_difference_of_areas_and_its_error_that_of_repeated_draws() -> None:
    """The standard error is what the difference scatters by over fresh rows."""
    rng = np.random.default_rng(0)
    anomalous = np.arange(300) >= 200
    drawn = []
    for _ in range(200):
        common = rng.normal(size=300) + anomalous
        drawn.append(gain(common + rng.normal(size=300), common + 2 * rng.normal(size=300), anomalous))
    gains, errors = np.array(drawn).T
    assert errors.mean() == pytest.approx(gains.std(), rel=0.15)
    same = rng.normal(size=300)
    assert gain(same, np.exp(same), anomalous) == (0, 0)


def test_a_comparison_is_the_same_every_time() -> None:
    """One seed, one table."""
    first, again = (compare(knowing, rows(300, 0), rows(200, 1), rows(0, 0), KIND, 5) for _ in range(2))
    assert first == again


def pictures(count: int, column: ImageColumn, seed: int = 0) -> npt.NDArray[np.float32]:
    """Encoded noise."""
    return np.random.default_rng(seed).random((count, np.prod(column.shape))).astype(np.float32)


@given(st.integers(8, 40), st.integers(8, 40), st.sampled_from([1, 3]), st.integers(0, 2**32 - 1))
@settings(max_examples=30)
def test_a_part_of_each_picture_is_a_rectangle_of_another(height: int, width: int, channels: int, seed: int) -> None:
    """It stands at another place there, and the rest is as it was."""
    column = ImageColumn("image", height, width, 1 if channels == 1 else 3)
    normal = pictures(6, column, seed)
    made = pasted(column, normal, np.random.default_rng(seed)).reshape(-1, *column.shape)
    assert len(made) == 6
    for picture, base in zip(made, normal.reshape(-1, *column.shape), strict=True):
        changed = (picture != base).any(axis=2)
        rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
        assert changed[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        assert changed.mean() <= 2 * AREA[1] + 1 / height + 1 / width
        assert np.isin(picture[changed], normal).all()
        assert not np.isin(picture[changed], base[changed]).any()


def test_pictures_that_are_all_alike_give_no_anomalies() -> None:
    """What is pasted looks the same; nor is there another picture where there is but one."""
    column = ImageColumn("image", 16, 16, 1)
    rng = np.random.default_rng(0)
    assert len(pasted(column, np.ones((5, 256), np.float32), rng)) == 0
    assert len(pasted(column, pictures(1, column), rng)) == 0


@pytest.mark.parametrize(("height", "width", "channels"), [(8, 8, 1), (64, 64, 3), (50, 20, 1), (256, 33, 3)])
def test_simple_detectors_see_few_pixels_with_the_same_mean(height: int, width: int, channels: int) -> None:
    """Small pictures as they are."""
    column = ImageColumn("image", height, width, 1 if channels == 1 else 3)
    x = pictures(3, column)
    seen = reduced(column, x)
    assert seen.shape == (3, min(height, SIDE) * min(width, SIDE) * channels)
    np.testing.assert_allclose(seen.mean(axis=1), x.mean(axis=1), atol=0.01)


def test_without_labels_pictures_are_compared_on_pasted_ones() -> None:
    """And the words say so."""
    column = ImageColumn("image", 16, 16, 1)
    kind = PictureTraining().simplification(Schema((column,), 100))
    normal = pictures(100, column) * 0.1
    found = compare(lambda x: np.zeros(len(x)), normal, normal[:50], normal[:0], kind, 0)
    assert found is not None
    assert found.basis == "pasted parts"
    assert compared_rows(found) == "50 normal pictures and 50 with a part of another one pasted in"
