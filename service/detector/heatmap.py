"""A picture with the evidence against it drawn over it."""

from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from kilter.service.detector.decoding import library
from kilter.service.detector.pictures import strips
from kilter.service.detector.regions import Grid

if TYPE_CHECKING:
    from PIL import Image

FAINT, FULL = 1.0, 8.0
"""Evidence that begins to show, which is beyond nearly all that is normal, and evidence from which on the colour is the
same: one scale for all pictures."""
OPAQUE = 0.75
"""Of the strongest colour: the picture is to be seen below it."""
_COLOURS = ((84, 2, 163), (156, 23, 158), (204, 71, 120), (237, 121, 83), (253, 180, 47), (240, 249, 33))
"""From matplotlib's `plasma`, which is told apart whatever colours one sees, and in print: lighter is stranger."""


def heatmap(picture: "Image.Image", evidence: npt.NDArray[np.float64], grid: Grid) -> bytes:
    """The picture, in RGB and at its own size, with the evidence, (rows * columns), over it, as a PNG.

    Where a place looks as usual nothing is drawn. The picture is drawn over.
    """
    image = library()
    strength = np.log(np.maximum(evidence, FAINT) / FAINT) / np.log(FULL / FAINT)
    cells = image.fromarray(np.minimum(strength, 1.0).reshape(grid).astype(np.float32))
    width, height = picture.size
    colours = np.stack([np.interp(np.linspace(0, 1, 256), np.linspace(0, 1, 6), c) for c in np.array(_COLOURS).T], 1)
    table = np.rint(colours).astype(np.uint8)
    for box in strips(width, height):
        part = (0.0, box[1] * grid.rows / height, float(grid.columns), box[3] * grid.rows / height)
        drawn = cells.resize((width, box[3] - box[1]), image.Resampling.BICUBIC, box=part)
        level = np.rint(np.clip(np.asarray(drawn), 0.0, 1.0) * 255).astype(np.uint8)
        opacity = np.rint(np.minimum(level * 1.5, 255.0) * OPAQUE).astype(np.uint8)
        picture.paste(image.fromarray(table[level]), box, image.fromarray(opacity))
    content = BytesIO()
    picture.save(content, "PNG", compress_level=1)
    return content.getvalue()
