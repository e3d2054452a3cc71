"""Pictures as the report embeds them: PNG data, at a size that can be seen and does not make the page heavy."""

import io
from base64 import b64encode

import numpy as np
import numpy.typing as npt
from PIL import Image

from kilter.service.detector.pictures.regions import Grid, heatmap
from kilter.service.detector.pictures.synthetic import image_of

SIDE = 96
"""Pixels to which smaller pictures are enlarged, in whole steps, and larger ones reduced."""
GAIN = 3
"""A third of the range of grey is as dark a difference as can be."""
COLOURS = 128
"""Colours of a heat map."""

Pixels = npt.NDArray[np.uint8]


def drawn(pixels: Pixels, side: int = SIDE) -> str:
    """A picture, (height, width, channels), as a data URL."""
    return _url(_at(image_of(pixels), side))


def drawn_heat(pixels: Pixels, evidence: npt.NDArray[np.float64], grid: Grid) -> str:
    """A picture with the evidence against it, (rows * columns), drawn over it, as a data URL."""
    content = heatmap(_at(image_of(pixels).convert("RGB"), SIDE), evidence, grid)
    return _url(Image.open(io.BytesIO(content)).quantize(COLOURS))


def residual(pixels: Pixels, expected: Pixels) -> Pixels:
    """Where a picture differs from what was expected, darker where more: (height, width, 1)."""
    difference = np.abs(pixels.astype(np.int16) - expected).max(axis=2, keepdims=True)
    shade: Pixels = (255 - np.minimum(GAIN * difference, 255)).astype(np.uint8)
    return shade


def _at(image: Image.Image, side: int) -> Image.Image:
    longest = max(image.size)
    if longest > side:
        image = image.copy()
        image.thumbnail((side, side), Image.Resampling.LANCZOS)
        return image
    times = max(1, side // longest)
    return image.resize((times * image.width, times * image.height), Image.Resampling.NEAREST)


def _url(image: Image.Image) -> str:
    content = io.BytesIO()
    image.save(content, "PNG", optimize=True)
    return f"data:image/png;base64,{b64encode(content.getvalue()).decode()}"
