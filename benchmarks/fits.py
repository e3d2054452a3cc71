"""Fits of ours that are kept on disk, so that scores around one network are compared without fitting it anew.

A fit holds the network, the encoded rows that it and its score were fitted to, and the encoded test rows and made
anomalies of its problem; the score is built around it by `build`, of the kind and with the code of today. A folder of
fits belongs to the networks and settings that it was made with: name another for others.
"""

from dataclasses import dataclass
from pathlib import Path

import joblib
import numpy as np
import numpy.typing as npt
from torch import Tensor

from benchmarks.clock import Matrix
from benchmarks.figures import Floats
from benchmarks.measurement import REAL
from benchmarks.problems import Problem, ProblemSource, matrix_of, read_problem
from kilter.service.detector.inputs import take
from kilter.service.detector.networks.base import Network
from kilter.service.detector.schema import Schema
from kilter.service.detector.scores.base import ScoredNetwork
from kilter.service.formats.reading import to_table
from kilter.training.config import TrainConfig
from kilter.training.data.source import TrainingSource
from kilter.training.data.tables import prepare
from kilter.training.fitting.model import Fitted, fit_model, score_around, score_rows


@dataclass(frozen=True)
class Kept:
    """A fit of ours on a problem, and what there is to score."""

    problem: str
    config: TrainConfig
    network: Network
    kind: str
    schema: Schema
    x: Matrix
    """Encoded fitting rows, (n, features)."""
    calibration: Matrix
    """Encoded calibration rows that the memory may hold."""
    train: Matrix
    """All training rows as the peers see them, (rows, columns)."""
    rows: dict[str, Matrix]
    """Encoded rows to score by kind: the test rows are `REAL`."""
    plain: dict[str, Matrix]
    """The same as the peers see them."""
    anomalous: npt.NDArray[np.bool_]

    def build(self) -> tuple[ScoredNetwork, Tensor | None]:
        """The network with its score."""
        return score_around(self.network, self.kind, self.x, self.calibration, self.schema, self.config)

    def scores(self, module: ScoredNetwork) -> dict[str, Floats]:
        """Scores of all rows, by kind."""
        return {kind: score_rows(module, rows) for kind, rows in self.rows.items()}


def kept_fit(source: ProblemSource, config: TrainConfig, folder: Path) -> Kept:
    """The fit of a problem from a folder of fits, made and put there if it is not yet."""
    path = folder / f"{str(source).replace('/', '--')}.joblib"
    if path.exists():
        found: Kept = joblib.load(path)
        return found
    kept = fit(read_problem(source), config)
    folder.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    joblib.dump(kept, part, compress=1)
    part.replace(path)
    return kept


def fit(problem: Problem, config: TrainConfig) -> Kept:
    """Fit on a problem."""
    data = prepare(problem.train, TrainingSource())
    fitted: Fitted = fit_model(data, config)
    modality = fitted.scorer.modality
    frames = {REAL: problem.test, **problem.made()}
    plain = matrix_of(problem.train)
    held = fitted.holds_calibration
    calibration = np.concatenate([*modality.encode(take(data.table, fitted.split.calibration))])
    return Kept(
        str(problem),
        config,
        fitted.module.network,
        fitted.score_kind,
        fitted.schema,
        np.concatenate([*modality.encode(take(data.table, fitted.split.fit))]),
        calibration if held else calibration[:0],
        plain(problem.train),
        {kind: np.concatenate([*modality.encode(to_table(fitted.schema, frame))]) for kind, frame in frames.items()},
        {kind: plain(frame) for kind, frame in frames.items()},
        problem.anomalous,
    )
