"""Tests of `pictures.pasting`: anomalies made of pictures, and what simple detectors see."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kilter.service.detector.columns import ImageColumn
from kilter.service.detector.schema import Schema
from kilter.training.baselines import compare
from kilter.training.pictures.pasting import AREA, SIDE, pasted, reduced
from kilter.training.spoiling import kind_of


def pictures(count: int, column: ImageColumn, seed: int = 0) -> npt.NDArray[np.float32]:
    """Encoded noise."""
    return np.random.default_rng(seed).random((count, np.prod(column.shape))).astype(np.float32)


@given(st.integers(8, 40), st.integers(8, 40), st.sampled_from([1, 3]), st.integers(0, 2**32 - 1))
@settings(max_examples=30)
def test_a_part_of_each_picture_is_a_rectangle_of_another(height: int, width: int, channels: int, seed: int) -> None:
    """It stands at another place there, and the rest is as it was."""
    column = ImageColumn("image", height, width, 1 if channels == 1 else 3)
    normal = pictures(6, column, seed)
    made = pasted(normal, column, np.random.default_rng(seed)).reshape(-1, *column.shape)
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
    assert len(pasted(np.ones((5, 256), np.float32), column, rng)) == 0
    assert len(pasted(pictures(1, column), column, rng)) == 0


@pytest.mark.parametrize(("height", "width", "channels"), [(8, 8, 1), (64, 64, 3), (50, 20, 1), (256, 33, 3)])
def test_simple_detectors_see_few_pixels_with_the_same_mean(height: int, width: int, channels: int) -> None:
    """Small pictures as they are."""
    column = ImageColumn("image", height, width, 1 if channels == 1 else 3)
    x = pictures(3, column)
    seen = reduced(x, column)
    assert seen.shape == (3, min(height, SIDE) * min(width, SIDE) * channels)
    np.testing.assert_allclose(seen.mean(axis=1), x.mean(axis=1), atol=0.01)


def test_without_labels_pictures_are_compared_on_pasted_ones() -> None:
    """And the words say so."""
    column = ImageColumn("image", 16, 16, 1)
    kind = kind_of(Schema((column,), 100))
    normal = pictures(100, column) * 0.1
    found = compare(lambda x: np.zeros(len(x)), normal, normal[:50], normal[:0], kind, 0)
    assert found is not None
    assert found.basis == "pasted parts"
    assert found.rows == "50 normal pictures and 50 with a part of another one pasted in"
