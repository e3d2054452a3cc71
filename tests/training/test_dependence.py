"""Tests of `dependence`: links between columns are found, and none where there are none."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from kilter.service.detector.columns import Feature
from kilter.training.dependence import dependence, mutual_information

Floats = npt.NDArray[np.float64]
NUMBERS = tuple(Feature(i, "gaussian") for i in range(6))


@pytest.mark.parametrize("seed", range(10))
def test_independent_columns_show_no_dependence(seed: int) -> None:
    """Whatever their distributions, missing values included."""
    rng = np.random.default_rng(seed)
    x = np.column_stack([rng.normal(size=(400, 2)), rng.standard_cauchy((400, 2)), rng.integers(2, size=(400, 2))])
    x[rng.random(x.shape) < 0.1] = np.nan
    assert dependence(x.astype(np.float32), NUMBERS) is None


@pytest.mark.parametrize(
    "link", [lambda a: 0.5 * a, lambda a: -(a**2), lambda a: np.abs(a) > 1, lambda a: np.where(a > 1, np.nan, 0)]
)
def test_a_link_of_any_form_is_found(link: Callable[[Floats], Floats]) -> None:
    """Straight, curved, through a threshold, or in what is missing."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 6))
    x[:, 4] = link(x[:, 1]) + 0.3 * rng.normal(size=500)
    found = dependence(x.astype(np.float32), NUMBERS)
    assert found is not None
    assert found.columns == (1, 4)
    assert found.nats > 0.05


def test_levels_and_numbers_are_held_against_each_other() -> None:
    """A level that depends on a number is a link; two features of one column are not."""
    rng = np.random.default_rng(0)
    number = rng.normal(size=500)
    level = np.digitize(number, [-0.5, 0.5])
    x = np.column_stack([level, level, number]).astype(np.float32)
    same = (Feature(0, "level", 3), Feature(0, "level", 3), Feature(1, "gaussian"))
    found = dependence(x, same)
    assert found is not None
    assert found.columns == (0, 1)
    assert dependence(x[:, :2], same[:2]) is None


def test_mutual_information_is_that_of_the_table() -> None:
    """Two equal fair coins share log 2 nats, two independent ones none."""
    a: npt.NDArray[np.int64] = np.array([0, 0, 1, 1])
    shared, freedom = mutual_information(a, a)
    assert shared == pytest.approx(np.log(2))
    assert freedom == 1
    assert mutual_information(a, np.array([0, 1, 0, 1]))[0] == pytest.approx(0)
