"""What is watched of pictures, in place of their pixels: three numbers that tell when a camera or its light changes."""

import numpy as np
import numpy.typing as npt

from service.detector.schema import ImageColumn

FIGURES = ("brightness", "contrast", "sharpness")


def watched_names(column: ImageColumn) -> tuple[str, ...]:
    """What the figures are called."""
    return tuple(f"{column.name}.{figure}" for figure in FIGURES)


def watched(x: npt.NDArray[np.float32], column: ImageColumn) -> npt.NDArray[np.float32]:
    """The figures of encoded pictures (n, height * width * channels) in [0, 1]: (n, 3).

    Brightness is the mean, contrast the standard deviation, and sharpness the mean difference of neighbours over the
    contrast: blur lowers it, noise raises it, and light leaves it as it is.
    """
    grey = x.reshape(-1, *column.shape).mean(axis=3)
    brightness, contrast = grey.mean(axis=(1, 2)), grey.std(axis=(1, 2))
    down, across = (np.abs(np.diff(grey, axis=axis)).mean(axis=(1, 2)) if n > 1 else 0.0 for axis, n in _sides(column))
    sharpness = np.divide((down + across) / 2, contrast, out=np.zeros_like(contrast), where=contrast > 1e-6)
    return np.stack([brightness, contrast, sharpness], axis=1).astype(np.float32)


def _sides(column: ImageColumn) -> tuple[tuple[int, int], tuple[int, int]]:
    return (1, column.height), (2, column.width)
