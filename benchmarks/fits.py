"""Fits of ours that are kept on disk, so that scores around one network are compared without fitting it anew.

A fit holds the network, the encoded rows that it and its score were fitted to, and the encoded test rows and made
anomalies of its problem; the score is built around it with the code of today. A folder of fits belongs to the networks
and settings that it was made with: name another for others.
"""

from dataclasses import dataclass
from pathlib import Path

import joblib
import numpy as np
import numpy.typing as npt

from benchmarks.clock import Matrix
from benchmarks.measurement import REAL
from benchmarks.problems import Problem, ProblemSource, read_problem
from kilter.service.detector.inputs import take
from kilter.service.detector.modalities import modality_of
from kilter.service.detector.networks.base import Network
from kilter.service.detector.schema import Schema
from kilter.service.detector.scores import kind_of_score
from kilter.service.detector.scores.base import ScoredNetwork
from kilter.service.formats.reading import to_table
from kilter.training.config import TrainConfig
from kilter.training.data.source import TrainingSource
from kilter.training.data.tables import prepare
from kilter.training.fitting.model import fit_unexported, score_around


@dataclass(frozen=True)
class Kept:
    """A fit of ours on a problem, and what there is to score."""

    network: Network
    schema: Schema
    x: Matrix
    """Encoded fitting rows, (n, features)."""
    calibration: Matrix
    """Encoded calibration rows that the memory may hold."""
    rows: dict[str, Matrix]
    """Encoded rows to score by kind: the test rows are `REAL`."""
    anomalous: npt.NDArray[np.bool_]

    def build(self, config: TrainConfig) -> ScoredNetwork:
        """The network with its score."""
        kind = kind_of_score(config.score, "table")
        return score_around(self.network, kind, self.x, self.calibration, self.schema, config)[0]


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
    fitted = fit_unexported(data, config)
    modality = modality_of(fitted.schema)
    frames = {REAL: problem.test, **problem.made()}
    calibration = np.concatenate([*modality.encode(take(data.table, fitted.split.calibration))])
    return Kept(
        fitted.module.network,
        fitted.schema,
        np.concatenate([*modality.encode(take(data.table, fitted.split.fit))]),
        calibration if fitted.own is not None else calibration[:0],
        {kind: np.concatenate([*modality.encode(to_table(fitted.schema, frame))]) for kind, frame in frames.items()},
        problem.anomalous,
    )
