"""What is watched of pictures, in place of their pixels: three numbers that tell when a camera or its light changes."""

import numpy as np
import numpy.typing as npt

from kilter.service.detector.schema import ImageColumn

FIGURES = ("brightness", "contrast", "sharpness")


def watched_names(column: ImageColumn) -> tuple[str, ...]:
    """What the figures are called."""
    return tuple(f"{column.name}.{figure}" for figure in FIGURES)


def watched(x: npt.NDArray[np.float32], column: ImageColumn) -> npt.NDArray[np.float32]:
    """The figures of encoded pictures (n, height * width * channels) in [0, 1]: (n, 3).

    Brightness is the mean, contrast the standard deviation. Sharpness is the mean second difference along rows and
    columns over the mean first one: blur lowers it, noise raises it, and light and contrast leave it as it is.
    """
    grey = x.reshape(-1, *column.shape).mean(axis=3)
    brightness, contrast = grey.mean(axis=(1, 2)), grey.std(axis=(1, 2))
    first, second = _roughness(grey, 1), _roughness(grey, 2)
    sharpness = np.divide(second, first, out=np.zeros_like(first), where=first > 1e-6)
    return np.stack([brightness, contrast, sharpness], axis=1).astype(np.float32)


def _roughness(grey: npt.NDArray[np.float32], order: int) -> npt.NDArray[np.float32]:
    """The mean difference of that order of neighbours along columns and rows, (n,)."""
    down, across = (np.abs(np.diff(grey, order, axis=axis)).mean(axis=(1, 2)) for axis in (1, 2))
    mean: npt.NDArray[np.float32] = (down + across) / 2
    return mean
