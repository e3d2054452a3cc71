"""A detector of pictures around a program that is plain arithmetic: what is bright is strange."""

import time
from base64 import b64encode
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from kilter.service.detector import Calibration, Detector, Schema
from kilter.service.detector.arrays import Matrix
from kilter.service.detector.manifest import Probes, ScoreEntry
from kilter.service.detector.pictures.column import ImageColumn
from kilter.service.detector.reference import BINS, Reference
from tests.support.manifests import manifest
from tests.support.pictures import GREY, Pixels, encoded

GRID = (4, 4)


class Cells:
    """The evidence of a cell is twenty times its mean less six; the score is the most of any, and of all a little."""

    device = "cpu"

    def __init__(self, column: ImageColumn, seconds: float = 0.0) -> None:
        self.column = column
        self.seconds = seconds
        """How long a call takes."""

    def run(self, x: Matrix, outputs: Sequence[str]) -> list[npt.NDArray[np.float64]]:
        time.sleep(self.seconds)
        pictures = x.reshape(-1, *self.column.shape).astype(np.float64).mean(axis=3)
        rows, columns = (np.array_split(np.arange(side), 4) for side in self.column.shape[:2])
        cells = [pictures[:, r[0] : r[-1] + 1, c[0] : c[-1] + 1].mean(axis=(1, 2)) for r in rows for c in columns]
        terms = 20 * np.stack(cells, axis=1) - 6
        made = {"score": terms.max(axis=1) + terms.mean(axis=1) / 10, "terms": terms, "expected": 0 * x}
        return [made[name] for name in outputs]


def picture_detector(
    name: str = "tiles", column: ImageColumn = GREY, version: int = 2, seconds: float = 0.0, **reference: Any
) -> Detector:
    """A detector of `Cells`: scores above about 4.6 are anomalies, at a rate of 0.05, by 199 calibration scores."""
    calibration = Calibration.of(np.linspace(-4.9, 5.1, 199), 0.05, 6)
    score = ScoreEntry("picture-neighbours", "neighbours", "robust standard units", 6, 1e-5, {}, GRID)
    described = manifest(
        Schema((column,), rows=100), calibration, name=name, version=version, score=score, upper_fpr=0.11
    )
    edges = np.tile(np.linspace(0.1, 1.0, BINS, dtype=np.float32), (3, 1))
    shares = np.full((3, BINS + 2), 1 / BINS)
    shares[:, BINS:] = 0.0
    record = {column.name: b64encode(encoded(dark(column))).decode()}
    probes = Probes([record], [], [], [])
    return Detector(described, Cells(column, seconds), calibration, probes, None, Reference(edges, shares, 100))


def dark(column: ImageColumn = GREY, seed: int = 0) -> Pixels:
    """A normal picture."""
    return np.random.default_rng(seed).integers(20, 80, column.shape).astype(np.uint8)


def spotted(height: int = 64, width: int = 96, channels: int = 1) -> Pixels:
    """A picture with a bright rectangle, from a quarter to half of its width and from half of its height down."""
    picture = np.random.default_rng(1).integers(20, 80, (height, width, channels)).astype(np.uint8)
    picture[height // 2 :, width // 4 : width // 2] = 240
    return picture
