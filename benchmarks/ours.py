"""Kilter's own path on a frame: infer the columns, split, fit, export and calibrate, then score as when serving."""

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
import polars as pl

from benchmarks.clock import Score, timed
from benchmarks.figures import Floats
from benchmarks.sets import frame
from kilter.service.detector.calibration import Calibration
from kilter.service.detector.detector import Scorer
from kilter.service.detector.exemplars import Exemplars, exemplars_of
from kilter.service.detector.inputs import Table
from kilter.service.formats.reading import to_table
from kilter.training.config import FitConfig, TrainConfig
from kilter.training.data.source import TrainingSource
from kilter.training.data.tables import prepare
from kilter.training.evaluation.thresholds import thresholds_of_fit
from kilter.training.fitting.copies import without_copies
from kilter.training.fitting.model import Fitted, fit_model


@dataclass(frozen=True)
class Ours:
    """A model of ours, and the CPU seconds from the frame to the calibrated model, the export aside."""

    scorer: Scorer
    calibration: Calibration
    fit_cpu_s: float
    exemplars: Exemplars | None = None

    def table(self, x: pl.DataFrame) -> Table:
        """Rows typed by the model's schema."""
        return to_table(self.scorer.modality.schema, x)

    def encoded(self, x: pl.DataFrame) -> npt.NDArray[np.float32]:
        """Rows as the program takes them."""
        return self.scorer.score(self.table(x), errors="mark").features

    def score(self, x: pl.DataFrame) -> Floats:
        """Scores of rows; NaN for one that cannot be read."""
        return self.scorer.score(self.table(x), errors="mark").score

    def runtime(self) -> Score:
        """What scores encoded rows in the serving runtime."""
        return lambda rows: self.scorer.program.run(rows, ("score",))[0]


def fit(train: pl.DataFrame, config: TrainConfig) -> Ours:
    """Fit and calibrate on rows, all of them taken for normal."""

    def run() -> tuple[Fitted, Calibration]:
        data = without_copies(prepare(train, TrainingSource()))
        fitted = fit_model(data, config)
        return fitted, thresholds_of_fit(data, config, fitted).thresholds.common

    (fitted, calibration), seconds = timed(run)
    tensors = {name: tensor.numpy() for name, tensor in fitted.module.state_dict().items()}
    exemplars = exemplars_of(fitted.schema.features(), tensors)
    return Ours(fitted.scorer, calibration, seconds - fitted.export_cpu_s, exemplars)


@cache
def warm_up() -> None:
    """Fit a small table, so that what is imported and compiled once in a process is in no figure."""
    rows = np.random.default_rng(0).normal(size=(60, 3))
    fit(frame(rows), TrainConfig(target_fpr=0.1, device="cpu", fit=FitConfig(steps=20)))
