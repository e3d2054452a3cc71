"""Tests of `modalities.pictures`: the figures that are watched, the regions of evidence, and the heat map of them."""

from io import BytesIO

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, ImageFilter

from kilter.service.detector.errors import ArtifactError
from kilter.service.detector.modalities.pictures import Box, Grid, ImageModality, Region, find_regions, heatmap
from kilter.service.detector.pictures.column import ImageColumn
from kilter.service.detector.schema import Schema
from tests.support.pictures import COLOUR, GREY, Pixels, scene


def modality(column: ImageColumn) -> ImageModality:
    """Of pictures of a column."""
    return ImageModality(Schema((column,), 9), (4, 4))


def figures(picture: Pixels) -> list[float]:
    """Of one picture of 16 x 16."""
    column = GREY if picture.shape[2] == 1 else COLOUR
    x = (picture / np.float32(255)).reshape(1, -1).astype(np.float32)
    values: list[float] = modality(column).figures(x)[0].tolist()
    return values


def test_each_figure_tells_its_own_change() -> None:
    """Light moves the brightness, its range the contrast, and focus the sharpness, the others staying near."""
    picture = scene(16, 16)
    brightness, contrast, sharpness = figures(picture)
    lighter = figures((picture * 0.5 + 100).astype(np.uint8))
    assert lighter[0] > brightness + 0.1
    assert abs(lighter[1] / contrast - 0.5) < 0.05
    assert abs(lighter[2] / sharpness - 1) < 0.1
    soft = np.asarray(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(1.5)))
    blurred = figures(soft)
    assert abs(blurred[0] - brightness) < 0.02
    assert blurred[2] < 0.5 * sharpness
    noise = np.random.default_rng(0).normal(0, 20, picture.shape)
    assert figures(np.clip(soft + noise, 0, 255).astype(np.uint8))[2] > 2 * blurred[2]


def test_a_picture_of_one_colour_has_no_contrast() -> None:
    """Nor sharpness, and nothing is divided by nothing."""
    assert figures(np.full((16, 16, 1), 51, np.uint8)) == pytest.approx([0.2, 0.0, 0.0], abs=1e-6)


def test_the_names_are_those_of_fields() -> None:
    """As metrics show them."""
    names = [watched.name for watched in modality(GREY).watched]
    assert names == ["image.brightness", "image.contrast", "image.sharpness"]
    assert modality(GREY).figures(np.zeros((0, 256), np.float32)).shape == (0, 3)


GRID = Grid(4, 6)
SCHEMA = Schema((ImageColumn("image", 8, 8, 1),), 9)


def evidence(*cells: tuple[int, int, float]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Evidence in some cells, and a little less than none in all others."""
    grid = np.full(GRID, -0.1)
    for row, column, value in cells:
        grid[row, column] = value
    return grid.ravel()


def test_cells_that_touch_are_one_region() -> None:
    """By an edge or a corner; the box is in pixels of the picture, and the shares are of all that speaks against it."""
    found = find_regions(evidence((0, 0, 6.0), (1, 1, 5.0), (3, 5, 5.0)), GRID, 60, 40, 5)
    assert found == [Region(Box(0, 0, 20, 20), 0.6875), Region(Box(50, 30, 10, 10), 0.3125)]


def test_no_more_are_told_than_are_asked_for() -> None:
    """The strongest ones."""
    found = find_regions(evidence((0, 0, 2.6), (0, 3, 4.0), (3, 0, 3.4)), GRID, 60, 40, 2)
    assert [(region.box.left, region.box.top) for region in found] == [(30, 0), (0, 30)]
    assert [region.share for region in found] == [0.4, 0.34]


def test_the_strongest_place_goes_before_the_largest() -> None:
    """A faint one may be spread over many cells, and have the larger share."""
    found = find_regions(evidence((0, 0, 5.0), *((3, column, 4.0) for column in range(6))), GRID, 60, 40, 5)
    assert [region.box.width for region in found] == [10, 60]
    assert found[0].share < found[1].share


def test_the_halo_of_a_region_is_not_part_of_it() -> None:
    """What is around a strong place is strange by it; it counts, but makes the box no larger."""
    [found] = find_regions(evidence((1, 1, 40.0), (1, 2, 5.0), (2, 1, 5.0)), GRID, 6, 4, 5)
    assert found == Region(Box(1, 1, 1, 1), 0.8)


def test_a_picture_as_good_as_normal_has_its_strongest_places_told() -> None:
    """As a record has its fields; where nothing speaks against it, there is none."""
    assert find_regions(evidence((2, 2, 0.4)), GRID, 60, 40, 5) == [Region(Box(20, 20, 10, 10), 1.0)]
    assert find_regions(evidence(), GRID, 60, 40, 5) == []


@given(
    cells=hnp.arrays(np.float64, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.floats(-3, 50)),
    width=st.integers(1, 300),
    height=st.integers(1, 300),
)
def test_regions_lie_in_the_picture_and_share_no_more_than_all(
    cells: np.ndarray[tuple[int, int], np.dtype[np.float64]], width: int, height: int
) -> None:
    """Whatever the grid and the size, even of a picture that is smaller than its grid."""
    found = find_regions(cells.ravel(), Grid(*cells.shape), width, height, 100)
    assert bool(found) == (cells.max() > 0)
    assert sum(region.share for region in found) <= 1.001
    for box in (region.box for region in found):
        assert box.width >= 1
        assert box.height >= 1
        assert 0 <= box.left <= box.left + box.width <= width
        assert 0 <= box.top <= box.top + box.height <= height


def test_the_strongest_place_is_within_the_first_regions_box() -> None:
    """A box is around what it is about."""
    rng = np.random.default_rng(0)
    for _ in range(50):
        cells = np.abs(rng.normal(0, 0.3, (8, 8)))
        row, column = rng.integers(8, size=2)
        cells[row, column] = 9.0
        box = find_regions(cells.ravel(), Grid(8, 8), 80, 160, 1)[0].box
        assert box.left <= column * 10 < box.left + box.width
        assert box.top <= row * 20 < box.top + box.height


@pytest.mark.parametrize("grid", [None, [4], [4, 0], ["4", 4], 16])
def test_a_manifest_without_a_grid_is_refused(grid: object) -> None:
    """By name, when the model is loaded."""
    with pytest.raises(ArtifactError, match="has a grid of"):
        ImageModality(SCHEMA, grid).cells  # type: ignore[arg-type]  # noqa: B018
    assert ImageModality(SCHEMA, (4, 6)).cells == GRID


SQUARE = Grid(4, 4)


def drawn(picture: npt.NDArray[np.uint8], evidence: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """The pixels of a heat map."""
    with Image.open(BytesIO(heatmap(Image.fromarray(picture), evidence.ravel(), SQUARE))) as image:
        assert image.format == "PNG"
        assert image.mode == "RGB"
        return np.asarray(image).astype(np.int64)


def test_a_normal_picture_is_left_as_it_is() -> None:
    """It has the size that it came with, and each of its pixels."""
    picture = scene(37, 53)
    np.testing.assert_array_equal(drawn(picture, np.full(SQUARE, 1.0)), picture)


def test_a_strange_place_is_drawn_over_and_the_rest_is_not() -> None:
    """The stronger the evidence, the further from the picture."""
    picture = np.full((80, 80, 3), 100, np.uint8)
    apart = []
    for strength in (2.0, 4.0, 8.0):
        evidence = np.zeros(SQUARE)
        evidence[0, 3] = strength
        change = np.abs(drawn(picture, evidence) - picture).sum(axis=2)
        assert change[:20, 60:].mean() > 20 * (change[40:].mean() + 0.01)
        apart.append(change[5:15, 65:75].mean())
    assert apart == sorted(apart)
    assert apart[0] > 20


def test_two_pictures_compare() -> None:
    """The scale is fixed: the same evidence has the same colour, whatever else is in the picture."""
    picture = np.full((80, 80, 3), 100, np.uint8)
    weak, both = np.zeros(SQUARE), np.zeros(SQUARE)
    weak[0, 0] = both[0, 0] = 3.0
    both[3, 3] = 99.0
    np.testing.assert_array_equal(drawn(picture, weak)[:30, :30], drawn(picture, both)[:30, :30])


def test_it_is_drawn_in_strips_without_seams(monkeypatch: pytest.MonkeyPatch) -> None:
    """A large picture is never there twice."""
    picture = scene(200, 90)
    evidence = np.random.default_rng(0).gamma(1.0, 3.0, SQUARE)
    whole = drawn(picture, evidence)
    monkeypatch.setattr("kilter.service.detector.pictures.pixels.STRIP", 900)
    assert np.abs(drawn(picture, evidence) - whole).max() <= 1
