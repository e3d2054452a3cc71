"""Pictures that nobody took: shapes, smooth fields and coarse noise, to try a model on without showing its data."""

import io
from base64 import b64encode
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from kilter.service.detector.arrays import Pixels

if TYPE_CHECKING:
    from kilter.service.detector.pictures.column import ImageColumn

FIELD = 4
"""A smooth field is drawn through so many random values in each direction."""
BLOCKS = 8
"""Coarse noise has so many blocks in each direction."""


def usual(column: "ImageColumn", rng: np.random.Generator) -> str:
    """A shape before an even background, or a smooth field, as the text of a record."""
    return text(_shape(column, rng) if rng.random() < 0.5 else _field(column, rng))


def odd(column: "ImageColumn", rng: np.random.Generator) -> str:
    """Coarse noise of full contrast, as the text of a record."""
    blocks = rng.integers(0, 2, (BLOCKS, BLOCKS, column.channels)).astype(np.uint8) * 255
    return text(_resized(blocks, column, Image.Resampling.NEAREST))


def text(pixels: Pixels) -> str:
    """Pixels, (height, width, channels), as PNG in base64."""
    content = io.BytesIO()
    image_of(pixels).save(content, "PNG", optimize=True)
    return b64encode(content.getvalue()).decode()


def image_of(pixels: Pixels) -> Image.Image:
    """Pixels, (height, width, 1 or 3), as an image."""
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)


def _shape(column: "ImageColumn", rng: np.random.Generator) -> Pixels:
    background, ink = rng.integers(0, 256, (2, column.channels)).tolist()
    mode = "L" if column.channels == 1 else "RGB"
    image = Image.new(mode, (column.width, column.height), tuple(background))
    draw = ImageDraw.Draw(image)
    top, left = rng.uniform(0.05, 0.5, 2) * (column.height, column.width)
    bottom, right = rng.uniform(0.55, 0.95, 2) * (column.height, column.width)
    outline = draw.ellipse if rng.random() < 0.5 else draw.rectangle
    outline((int(left), int(top), int(right), int(bottom)), fill=tuple(ink))
    return np.asarray(image).reshape(column.shape)


def _field(column: "ImageColumn", rng: np.random.Generator) -> Pixels:
    values = rng.integers(0, 256, (FIELD, FIELD, column.channels)).astype(np.uint8)
    return _resized(values, column, Image.Resampling.BICUBIC)


def _resized(pixels: Pixels, column: "ImageColumn", how: Image.Resampling) -> Pixels:
    image = image_of(pixels).resize((column.width, column.height), how)
    return np.asarray(image).reshape(column.shape)
