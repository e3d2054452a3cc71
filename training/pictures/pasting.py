"""What pictures are to simple detectors, and anomalies that are made of normal pictures."""

import numpy as np
import numpy.typing as npt
import torch

from kilter.service.detector.columns import ImageColumn

SIDE = 32
"""Simple detectors see pictures reduced to at most this many pixels in each direction."""
AREA = (0.02, 0.15)
"""Share of the picture that is pasted (Li et al., CutPaste, 2021)."""
RATIO = (0.3, 3.3)
"""Of its width to its height, by the same."""

Matrix = npt.NDArray[np.float32]


def reduced(x: Matrix, column: ImageColumn) -> Matrix:
    """Encoded pictures, (n, height width channels), each averaged to at most `SIDE` x `SIDE`: (n, fewer)."""
    side = min(column.height, SIDE), min(column.width, SIDE)
    if side == (column.height, column.width):
        return x
    pictures = torch.from_numpy(x).reshape(-1, *column.shape).permute(0, 3, 1, 2)
    means: Matrix = torch.nn.functional.adaptive_avg_pool2d(pictures, side).flatten(1).numpy()
    return means


def pasted(normal: Matrix, column: ImageColumn, rng: np.random.Generator) -> Matrix:
    """Encoded pictures, (n, height width channels), each with a rectangle of another one, from another place of it.

    Those that look the same after it are left out.
    """
    if len(normal) < 2:
        return normal[:0]
    pictures = normal.reshape(-1, *column.shape)
    made = pictures.copy()
    donors = (np.arange(len(normal)) + rng.integers(1, len(normal), len(normal))) % len(normal)
    for picture, donor in zip(made, pictures[donors], strict=True):
        area = rng.uniform(*AREA) * column.height * column.width
        ratio = np.exp(rng.uniform(*np.log(RATIO)))
        height = int(np.clip(round(np.sqrt(area / ratio)), 1, column.height - 1))
        width = int(np.clip(round(np.sqrt(area * ratio)), 1, column.width - 1))
        (top, here), (left, there) = (
            rng.choice(side - size + 1, 2, replace=False)
            for side, size in ((column.height, height), (column.width, width))
        )
        picture[top : top + height, left : left + width] = donor[here : here + height, there : there + width]
    changed = (made != pictures).any(axis=(1, 2, 3))
    kept: Matrix = made[changed].reshape(-1, normal.shape[1])
    return kept
