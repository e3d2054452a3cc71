"""What is watched of pictures tells when the camera or its light changes."""

import numpy as np
import pytest
from PIL import Image, ImageFilter

from kilter.service.detector.modalities.pictures import ImageModality
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
