"""Defects that are drawn into good pictures, with masks that say where they are."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

from benchmarks.image_sets import Pixels

SPOT = (0.03, 0.08)
"""Radius of a spot, as a share of the picture's shorter side."""
SCRATCH = (0.3, 0.02)
"""Length and width of a scratch, in the same."""
PATCH = (0.1, 0.25)
"""Side of a patch, in the same."""
SHARP, SOFT = 0.003, 0.01
"""Blur of a defect's edge, in the same."""
CONTRAST = 0.5
"""How far a spot or a scratch is from the picture around it, as a share of its grey range."""

Mask = npt.NDArray[np.bool_]


class Defect(NamedTuple):
    """A picture, (height, width), with a defect, and where that is, (height, width)."""

    picture: Pixels
    mask: Mask


def defective(picture: Pixels, other: Pixels, rng: np.random.Generator) -> Defect:
    """A grey picture, (height, width), with a spot, a scratch, or a patch of another picture."""
    height, width = picture.shape
    short = min(height, width)
    shape = Image.new("L", (width, height))
    draw = ImageDraw.Draw(shape)
    kind = rng.integers(3)
    x, y = rng.uniform(0.2, 0.8) * width, rng.uniform(0.2, 0.8) * height
    if kind == 0:
        a, b = rng.uniform(*SPOT, 2) * short
        draw.ellipse((x - a, y - b, x + a, y + b), fill=255)
    elif kind == 1:
        angle, half = rng.uniform(0, np.pi), SCRATCH[0] * short / 2
        ends = (x - half * np.cos(angle), y - half * np.sin(angle), x + half * np.cos(angle), y + half * np.sin(angle))
        draw.line(ends, fill=255, width=max(1, round(SCRATCH[1] * short)))
    else:
        a, b = rng.uniform(*PATCH, 2) * short / 2
        draw.rectangle((x - a, y - b, x + a, y + b), fill=255)
    mask = np.asarray(shape) > 0
    edge = (SHARP if kind else SOFT) * short
    weight = np.asarray(shape.filter(ImageFilter.GaussianBlur(edge)), np.float64) / 255
    if kind == 2:
        content = np.roll(_covering(other, picture.shape), tuple(rng.integers(1, (height, width))), (0, 1))
    else:
        low, high = np.quantile(picture, [0.01, 0.99])
        sign = rng.choice([-1.0, 1.0])
        content = np.clip(picture + sign * CONTRAST * max(high - low, 32.0), 0, 255)
    made = np.rint(picture + weight * (content - picture))
    return Defect(made.astype(np.uint8), mask)


def _covering(other: Pixels, shape: tuple[int, ...]) -> Pixels:
    """The upper left of a picture, repeated where it is smaller than the shape."""
    times = [-(-wanted // given) for wanted, given in zip(shape, other.shape, strict=True)]
    return np.tile(other, times)[: shape[0], : shape[1]]
