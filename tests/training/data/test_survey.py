"""Tests of `data.survey`: what a model's pictures are to be."""

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from kilter.service.detector.errors import KilterError, PictureError
from kilter.service.detector.pictures.column import ImageColumn
from kilter.service.detector.pictures.depths import WHITES
from kilter.service.detector.pictures.pixels import DEEPEST
from kilter.training.data.files import file_traits
from kilter.training.data.survey import SIDE, SIDES, PictureTraits, decide_pictures, number_traits, sizes_in_words


def grey(height: int = 20, width: int = 30) -> PictureTraits:
    """A grey picture of 8 bits."""
    return PictureTraits(height, width, False)


@given(st.lists(st.tuples(st.integers(1, 5000), st.integers(1, 5000)), min_size=1))
def test_each_side_is_the_median_within_bounds(sizes: list[tuple[int, int]]) -> None:
    """Neither below what a network takes nor, unless asked for, above what is worth its time."""
    column, _ = decide_pictures([grey(*size) for size in sizes], None)
    for median, side in zip(np.median(sizes, axis=0), column.shape, strict=False):
        assert side == np.clip(int(median), SIDES[0], SIDE)


def test_another_size_is_taken_as_it_was_asked_for() -> None:
    """Larger than the default, not square, or larger than the pictures themselves."""
    column, decision = decide_pictures([grey()], (256, 8))
    assert column == ImageColumn("image", 256, 8, 1, deep=DEEPEST)
    assert decision.why.startswith("256 x 8 (height x width), as was asked for; grey, as all are")
    for size in ((7, 64), (64, 257)):
        with pytest.raises(KilterError, match=r"images are from 8 to 256 pixels high and wide, not"):
            decide_pictures([grey()], size)


def test_one_coloured_picture_makes_a_model_of_colours() -> None:
    """And the decision says how many there are."""
    column, decision = decide_pictures([grey(), grey()._replace(coloured=True)], None)
    assert column.channels == 3
    assert "in colour, as 1 are" in decision.why


@pytest.mark.parametrize(
    ("low", "high", "whole", "taken", "deep"),
    [
        (0, 1, False, (0, 1), DEEPEST),
        (0.1, 0.7, False, (0, 1), DEEPEST),
        (0.2, 0.3, False, (0.15, 0.35), (9830.25, 22937.25)),
        (-1, 1, False, (-1, 1), DEEPEST),
        (0, 1, True, (0, 1), (0, 1)),
        (0, 255, False, (0, 255), (0, 255)),
        (90, 200, True, (0, 255), (0, 255)),
        (0, 16, False, (0, 24), (0, 24)),
        (0, 0.4, False, (0, 0.6), (0, 39321)),
        (0, 200, True, (0, 255), (0, 255)),
        (-700, 3300, True, (-2700, 5300), (-2700, 5300)),
        (3, 3800, True, (0, 4095), (0, 4095)),
        (7300, 8200, True, (6850, 8650), (6850, 8650)),
        (15_000, 16_300, True, (14_350, 16_383), (14_350, 16_383)),
        (3, 65535, True, (0, 65535), DEEPEST),
        (0, 100_000, True, (0, 150_000), (0, 150_000)),
    ],
)
def test_the_range_of_numbers_is_a_usual_one_if_they_fill_it(
    low: float, high: float, whole: bool, taken: tuple[float, float], deep: tuple[float, float]
) -> None:
    """Else it is that of the pictures, with room for what is stranger. Files of 16 bits have the same, or shares."""
    column, _ = decide_pictures([PictureTraits(8, 8, False, low, high, whole)], None)
    assert (column.low, column.high) == pytest.approx(taken)
    assert column.deep == pytest.approx(deep)


def test_files_of_8_and_of_16_bits_have_ranges_of_their_own() -> None:
    """Arrays are taken as files of 8 bits where there are some; what says nothing of itself comes before these."""
    deep = PictureTraits(20, 30, False, 10, 3900, whole=True, deep=True)
    column, decision = decide_pictures([grey(), deep], None)
    assert (column.low, column.high, column.deep) == (0, 255, (0, 4095))
    assert "black is 0 and white 4095 in files of 16 bits" in decision.why
    column, _ = decide_pictures([grey(), deep._replace(deep=False)], None)
    assert (column.low, column.high, column.deep) == (0, 4095, (0, 4095))
    column, decision = decide_pictures([deep], None)
    assert (column.low, column.high, column.deep) == (0, 4095, (0, 4095))
    assert "black is 0 and white 4095 in numbers that say neither" in decision.why


@given(bits=st.integers(9, 16), hot=st.integers(0, 9), seed=st.integers(0, 50))
def test_dead_and_hot_pixels_set_no_range(bits: int, hot: int, seed: int) -> None:
    """Nor does a broken picture among many: what most of the numbers fill is what counts."""
    rng = np.random.default_rng(seed)
    pictures = rng.integers(0, 2**bits, (60, 100, 100, 1)).astype(np.uint16)
    pictures.reshape(60, -1)[:, rng.choice(10_000, hot, replace=False)] = 65_535
    pictures[rng.integers(60)] = 65_535
    column, _ = decide_pictures([number_traits(picture) for picture in pictures], None)
    white = next(white for white in WHITES if 2**bits - 1 <= white)
    expected = white if 2 * (2**bits - 1) > white else 1.5 * (2**bits - 1)
    assert column.low == pytest.approx(0, abs=expected / 200)
    assert column.high == pytest.approx(expected, rel=0.01)


def test_pictures_of_one_shade_are_nothing_to_learn_from() -> None:
    """Numbers that say neither black nor white must differ."""
    with pytest.raises(KilterError, match="every value of every picture is 3"):
        decide_pictures([PictureTraits(8, 8, False, 3, 3)], None)


def write(path: Path, image: Image.Image, **options: object) -> Path:
    """Write a picture."""
    image.save(path, **options)  # type: ignore[arg-type]
    return path


def test_what_is_looked_at_is_the_picture_as_it_is_shown(tmp_path: Path) -> None:
    """Upright by its EXIF data; in colour only if it has some, whatever its file's mode."""
    rng = np.random.default_rng(0)
    shades = Image.fromarray(rng.integers(0, 256, (40, 20), np.uint8))
    turned = Image.Exif()
    turned[0x0112] = 6
    assert file_traits(write(tmp_path / "a.png", shades)) == PictureTraits(40, 20, False)
    assert file_traits(write(tmp_path / "a.jpg", shades.convert("RGB"), exif=turned)) == PictureTraits(20, 40, False)
    red = Image.new("RGB", (30, 30), "grey")
    red.paste("red", (0, 0, 4, 4))
    assert file_traits(write(tmp_path / "b.png", red)).coloured
    deep = Image.fromarray(rng.integers(0, 65536, (9, 9), np.uint16))
    values = np.asarray(deep)
    expected = PictureTraits(9, 9, False, float(values.min()), float(values.max()), whole=True, deep=True)
    assert file_traits(write(tmp_path / "c.png", deep)) == expected


def test_numbers_that_say_neither_black_nor_white_are_measured(tmp_path: Path) -> None:
    """In a TIFF of floats; one that holds no number is broken."""
    values = np.linspace(-2, 5, 100, dtype=np.float32).reshape(10, 10)
    assert file_traits(write(tmp_path / "a.tif", Image.fromarray(values))) == PictureTraits(10, 10, False, -2, 5)
    values[0, 0] = np.nan
    with pytest.raises(PictureError, match="not finite"):
        file_traits(write(tmp_path / "b.tif", Image.fromarray(values)))


def test_a_picture_that_cannot_be_read_is_no_surprise(tmp_path: Path) -> None:
    """It is a PictureError, whatever is wrong."""
    whole = io.BytesIO()
    Image.new("L", (50, 50)).save(whole, "PNG")
    (tmp_path / "cut.png").write_bytes(whole.getvalue()[:40])
    for name in ("cut.png", "absent.png"):
        with pytest.raises(PictureError):
            file_traits(tmp_path / name)


COLUMN = ImageColumn("image", 32, 48, 1)


def said(*sizes: tuple[int, int]) -> str:
    """What is said of pictures of some sizes."""
    return sizes_in_words(np.array(sizes, np.int64).reshape(-1, 2), COLUMN)


def test_the_sizes_that_there_were_are_told() -> None:
    """One size, or from which to which; what was done about it; and proportions where they differ."""
    assert said((32, 48), (32, 48)) == "2 pictures, all 32 x 48 (height x width)."
    assert said((64, 96)) == "1 picture 64 x 96 (height x width), brought to 32 x 48."
    several = said((320, 480), (640, 990), (64, 96))
    assert several == "3 pictures of 3 sizes, from 64 x 96 to 640 x 990 (height x width), were brought to 32 x 48."
    stretched = said((100, 50), (50, 100))
    assert "whatever their proportions: width to height goes from 0.5 to 2" in stretched


def test_pictures_that_were_enlarged_are_counted() -> None:
    """In either direction."""
    assert "; 2 are smaller than that in height or width and were enlarged." in said((64, 96), (31, 96), (64, 47))
    assert said() == "No picture could be read."
