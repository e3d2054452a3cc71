"""Pictures of digits, of which scikit-learn brings 1,797, as files and as arrays."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from sklearn.datasets import load_digits

from tests.support.pictures import encoded

Pixels = npt.NDArray[np.uint8]


def digits() -> Pixels:
    """All of them, uint8 (1797, 8, 8)."""
    pictures: Pixels = np.rint(load_digits().images * (255 / 16)).astype(np.uint8)
    return pictures


def shuffled() -> Pixels:
    """The same in random order: as they come, each writer's are together, and later ones are not like earlier ones."""
    pictures = digits()
    return pictures[np.random.default_rng(0).permutation(len(pictures))]


def spoiled(digit: Pixels) -> Pixels:
    """A digit with a blot in its lower left corner, where no digit has ink."""
    picture = digit.copy()
    picture[5:8, 0:2] = 255
    return picture


def write_pictures(folder: Path, pictures: Pixels) -> Path:
    """Write pictures as PNG files, ten to a folder of their own."""
    for place, picture in enumerate(pictures):
        path = folder / f"{place // 10:02d}" / f"{place:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(picture))
    return folder
