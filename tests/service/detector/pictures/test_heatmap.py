"""A heat map shows where a picture is strange, and the picture."""

from io import BytesIO

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from kilter.service.detector.pictures.regions import Grid, heatmap
from tests.support.pictures import scene

GRID = Grid(4, 4)


def drawn(picture: npt.NDArray[np.uint8], evidence: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """The pixels of a heat map."""
    with Image.open(BytesIO(heatmap(Image.fromarray(picture), evidence.ravel(), GRID))) as image:
        assert image.format == "PNG"
        assert image.mode == "RGB"
        return np.asarray(image).astype(np.int64)


def test_a_normal_picture_is_left_as_it_is() -> None:
    """It has the size that it came with, and each of its pixels."""
    picture = scene(37, 53)
    np.testing.assert_array_equal(drawn(picture, np.full(GRID, 1.0)), picture)


def test_a_strange_place_is_drawn_over_and_the_rest_is_not() -> None:
    """The stronger the evidence, the further from the picture."""
    picture = np.full((80, 80, 3), 100, np.uint8)
    apart = []
    for strength in (2.0, 4.0, 8.0):
        evidence = np.zeros(GRID)
        evidence[0, 3] = strength
        change = np.abs(drawn(picture, evidence) - picture).sum(axis=2)
        assert change[:20, 60:].mean() > 20 * (change[40:].mean() + 0.01)
        apart.append(change[5:15, 65:75].mean())
    assert apart == sorted(apart)
    assert apart[0] > 20


def test_two_pictures_compare() -> None:
    """The scale is fixed: the same evidence has the same colour, whatever else is in the picture."""
    picture = np.full((80, 80, 3), 100, np.uint8)
    weak, both = np.zeros(GRID), np.zeros(GRID)
    weak[0, 0] = both[0, 0] = 3.0
    both[3, 3] = 99.0
    np.testing.assert_array_equal(drawn(picture, weak)[:30, :30], drawn(picture, both)[:30, :30])


def test_it_is_drawn_in_strips_without_seams(monkeypatch: pytest.MonkeyPatch) -> None:
    """A large picture is never there twice."""
    picture = scene(200, 90)
    evidence = np.random.default_rng(0).gamma(1.0, 3.0, GRID)
    whole = drawn(picture, evidence)
    monkeypatch.setattr("kilter.service.detector.pictures.pixels.STRIP", 900)
    assert np.abs(drawn(picture, evidence) - whole).max() <= 1
