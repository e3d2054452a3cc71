"""A training run of an image model in memory: scikit-learn's digits, judged by what is bright."""

from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt
from sklearn.datasets import load_digits

from kilter.service.detector import Calibration, Detector
from kilter.service.detector.arrays import Matrix
from kilter.service.detector.findings import Epoch
from kilter.service.detector.inputs import Table
from kilter.service.detector.manifest import Choice
from kilter.service.detector.pictures.column import ImageColumn
from kilter.service.detector.thresholds import Thresholds, promise_of
from kilter.training.data.source import ColumnDecision
from kilter.training.evaluation.checkup import find_suspects
from kilter.training.evaluation.evaluate import evaluate_rows
from kilter.training.reporting.run import Latent, Run, Scored
from tests.support.picture_model import Cells, picture_detector
from tests.support.pictures import Pixels
from tests.support.runs import Made

DIGITS = ImageColumn("image", 8, 8, 1)


def digits(label: int) -> Pixels:
    """The pictures of a digit, (n, 8, 8, 1)."""
    found = load_digits()
    pixels: Pixels = (found.images[found.target == label] * 15.9375).astype(np.uint8)[..., None]
    return pixels


class Seeing(Cells):
    """`Cells` that expects a grey picture, and has an ELBO."""

    def run(self, x: Matrix, outputs: Sequence[str]) -> list[npt.NDArray[np.float64]]:
        score, terms = super().run(x, ("score", "terms"))
        made: dict[str, npt.NDArray[np.float64]] = {
            "score": score,
            "terms": terms,
            "expected": 0.5 * x.astype(np.float64) + 0.25,
            "reconstruction": score,
            "kl": 0 * score,
        }
        return [made[name] for name in outputs]


def picture_run(column: ImageColumn = DIGITS, normal: Pixels | None = None, odd: Pixels | None = None) -> Made:
    """A run whose normal pictures are zeros, and whose anomalies are ones, unless others are given."""
    normal = digits(0) if normal is None else normal
    odd = digits(1) if odd is None else odd
    base = picture_detector(column=column)
    calibration = Calibration.of(Seeing(column).run(_encoded(normal), ("score",))[0], 0.05, 4)
    promise = promise_of(Thresholds(calibration, None), Choice("rate"), "random")
    manifest = msgspec.structs.replace(base.manifest, calibration=promise)
    detector = Detector(manifest, Seeing(column), calibration, base.probes, None, base.reference)
    both = np.concatenate([normal, odd])
    names = tuple(f"{'good' if i < len(normal) else 'bad'}/{i:03d}.png" for i in range(len(both)))
    anomalous = np.arange(len(both)) >= len(normal)

    def scored(rows: npt.NDArray[np.int64]) -> Scored:
        table = Table({"image": both[rows]}, len(rows), [])
        return Scored(table, detector.score(table).score, rows)

    everything = scored(np.arange(len(both)))
    seen, held_out = scored(np.arange(len(normal))[::2]), scored(np.arange(len(normal))[1::2])
    means = np.random.default_rng(0).normal(size=(len(both), 4)) + 2.0 * anomalous[:, None]
    run = Run(
        judge=detector,
        decisions=(ColumnDecision("image", "image", "8 x 8, which is the median; grey, as all are"),),
        history=[Epoch(50 * i, 20 - i, 15 - i, 0.5 * i, i - 25.0) for i in range(1, 10)],
        evaluation=evaluate_rows(detector, everything.table, anomalous, seed=0),
        normal=held_out,
        fresh=False,
        anomalies=scored(np.flatnonzero(anomalous)),
        latent=Latent(means, everything.scores, anomalous, everything.table),
        fitted=seen,
        names=names,
        samples=normal[:10],
    )
    suspects = find_suspects(seen.scores, np.arange(seen.table.rows), calibration)
    return Made(detector.manifest, run).but(evaluation=run.evaluation, suspects=suspects)


def _encoded(pixels: Pixels) -> Matrix:
    return (pixels.reshape(len(pixels), -1) / 255).astype(np.float32)
