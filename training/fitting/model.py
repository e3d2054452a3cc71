"""A model in memory: rows set apart, a network fitted to some of them, its score fitted around it, and exported."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from sklearn.ensemble import IsolationForest
from torch import Tensor

from kilter.service.detector.arrays import Floats, Mask, Matrix, Positions
from kilter.service.detector.calibration import DECIMALS, rounded
from kilter.service.detector.detector import Scorer
from kilter.service.detector.errors import KilterError
from kilter.service.detector.findings import Epoch, Remedy
from kilter.service.detector.inputs import take
from kilter.service.detector.modalities import modality_of
from kilter.service.detector.networks import network_class
from kilter.service.detector.networks.base import Network
from kilter.service.detector.runtime import OnnxProgram, pick_device
from kilter.service.detector.schema import Schema
from kilter.service.detector.scores import kind_of_score, score_class
from kilter.service.detector.scores.base import Material, ScoredNetwork
from kilter.training.config import TrainConfig
from kilter.training.data.source import TrainingData
from kilter.training.fitting.diagnosis import fit_or_remedy
from kilter.training.fitting.fit import FitProgress, folds
from kilter.training.fitting.programs import Backbone, export
from kilter.training.fitting.shallow import fit_density, fit_gaussians, grow_forest
from kilter.training.fitting.split import Split, fit_schema, split_rows, time_of

SUSPECTS = 0.2  # share of the fitting rows set apart as suspects: those that an isolation forest isolates most easily
CHUNK = 1024  # rows that are scored in torch at once


@dataclass(frozen=True)
class Fitted:
    """A fitted model that is neither calibrated nor on disk."""

    scorer: Scorer
    calibration_scores: Floats  # scores of the calibration rows, each as if the model had never seen it, (n,)
    holds_calibration: bool  # whether the calibration rows are in the memory that the score looks into
    network_kind: str  # its name in `networks.NETWORKS`
    score_kind: str  # its name in `scores.SCORES`
    module: ScoredNetwork
    programs: dict[str, bytes]
    history: list[Epoch]
    remedy: Remedy | None  # of a posterior that collapsed
    split: Split
    backbone: Backbone | None
    export_cpu_s: float  # CPU seconds that the export took, which is no part of a comparison of fits

    @property
    def schema(self) -> Schema:
        """The schema, with the statistics of the fitting rows."""
        return self.scorer.modality.schema

    @property
    def stands_in(self) -> bool:
        """Whether calibration rows stand in for held-out ones, of which there are none, and the memory holds them."""
        return self.holds_calibration and not len(self.split.held_out)


@dataclass(frozen=True)
class Unexported:
    """A network with its score, fitted to some of the rows, before it is exported."""

    module: ScoredNetwork
    schema: Schema
    score_kind: str
    split: Split
    calibration: Matrix
    """The encoded calibration rows, (n, features), where the score's memory may hold them; else none, (0, features)."""
    own: Tensor | None
    """The row of the memory that each of these is, (n,); None where it holds none of them."""
    history: list[Epoch]
    remedy: Remedy | None

    def calibration_scores(self) -> Floats:
        """The scores of these in torch, each as if the model had never seen it, (n,)."""
        return score_rows(self.module, self.calibration, self.own)


def fit_model(
    data: TrainingData,
    config: TrainConfig,
    *,
    backbone: Backbone | None = None,
    checkpoint: Path | None = None,
    progress: FitProgress = lambda step, steps, epoch: None,
) -> Fitted:
    """Split, fit and export; of pictures the score may be that of a backbone's features."""
    unexported = fit_unexported(data, config, backbone=backbone, checkpoint=checkpoint, progress=progress)
    module, schema, width = unexported.module, unexported.schema, unexported.calibration.shape[1]
    start = time.process_time()
    programs = export(module, width, backbone)
    export_cpu_s = time.process_time() - start
    modality = modality_of(schema, module.score.grid)
    scorer = Scorer(modality, OnnxProgram(programs, width, modality.rows_per_call("cpu")))
    held = unexported.own is not None
    table = take(data.table, unexported.split.calibration)
    return Fitted(
        scorer=scorer,
        calibration_scores=unexported.calibration_scores() if held else scorer.score(table).score,
        holds_calibration=held,
        network_kind=config.fit.network_of(modality.name),
        score_kind=unexported.score_kind,
        module=module,
        programs=programs,
        history=unexported.history,
        remedy=unexported.remedy,
        split=unexported.split,
        backbone=backbone,
        export_cpu_s=export_cpu_s,
    )


def divide(data: TrainingData, config: TrainConfig) -> tuple[Split, Schema]:
    """The split of the normal rows, and the schema that the fitting ones give."""
    times = time_of(data.draft, data.table, config.split)
    parts = split_rows(
        data.normal, config.target_fpr, config.seed, times, distinct=data.copies is not None, entities=data.entities
    )
    return parts, fit_schema(data.draft, data.table, parts.fit)


def fit_unexported(
    data: TrainingData,
    config: TrainConfig,
    *,
    backbone: Backbone | None = None,
    checkpoint: Path | None = None,
    progress: FitProgress = lambda step, steps, epoch: None,
) -> Unexported:
    """The first half of `fit_model`, which takes the rows and gives a network with its score."""
    parts, schema = divide(data, config)
    entities = None if data.entities is None else data.entities[parts.fit]
    modality = modality_of(schema)
    kind = kind_of_score(config.score, modality.name) if backbone is None else "backbone-neighbours"
    if kind == "elbo" and not network_class(config.fit.network_of(modality.name)).has_elbo:
        raise KilterError(
            f"the model {config.fit.model} has no ELBO, since its codes have no prior: its scores are neighbours and "
            "reconstruction"
        )
    x = np.concatenate([*modality.encode(take(data.table, parts.fit))])
    network, history, remedy = fit_or_remedy(
        x,
        schema,
        config.fit,
        config.seed,
        pick_device(config.device),
        checkpoint,
        progress,
        entities=entities,
    )
    table = take(data.table, parts.calibration)
    # Of rows split by time the newest calibrate: they are close to each other as rows to come will not be.
    held = parts.how == "random" and score_class(kind).holds_calibration
    calibration = np.concatenate([*modality.encode(table)]) if held else x[:0]
    module, own = score_around(network.cpu(), kind, x, calibration, schema, config, backbone, entities)
    return Unexported(module.eval(), schema, kind, parts, calibration, own, history, remedy)


def score_around(
    network: Network,
    kind: str,
    x: Matrix,
    calibration: Matrix,
    schema: Schema,
    config: TrainConfig,
    backbone: Backbone | None = None,
    entities: Positions | None = None,
) -> tuple[ScoredNetwork, Tensor | None]:
    """The program of a network fitted to the encoded rows x, (n, features), with a score of a kind in `SCORES`.

    And the row of the score's memory that each of the `calibration` rows, (m, features), is; see `AnomalyScore.fit`.
    """
    parts = folds(len(x), network.members, config.seed, entities)
    seen, blind = ([torch.from_numpy(part) for part in side] for side in parts)
    rows = torch.from_numpy(x), seen, blind, torch.from_numpy(calibration)
    outside = suspicion, fit_gaussians, backbone
    material = Material(schema, *rows, config.seed, config.memory_rows, *outside, fit_density, grow_forest)
    score, own = score_class(kind).fit(network, material)
    module = ScoredNetwork(network, score)
    return module.eval(), own


def score_rows(module: ScoredNetwork, x: Matrix, own: Tensor | None = None) -> Floats:
    """The scores of encoded rows, (n, features), each without the memory's row that is its `own`, if any: (n,)."""
    rows = torch.split(torch.from_numpy(x), CHUNK)
    owns = [None] * len(rows) if own is None else torch.split(own, CHUNK)
    with torch.no_grad():
        parts = [module(*part)[0] for part in zip(rows, owns, strict=True)]
    return rounded(torch.cat(parts).double().numpy(), DECIMALS)


def suspicion(points: Matrix, seed: int) -> Callable[[Matrix], Mask]:
    """Whether points are suspects: as easily isolated by a forest of the given ones, (n, axes), as SUSPECTS of them.

    The forest is an isolation forest (Liu, Ting and Zhou, 2008).
    """
    forest = IsolationForest(n_estimators=100, random_state=seed % 2**32).fit(points)
    limit = np.quantile(-forest.score_samples(points), 1 - SUSPECTS)
    return lambda x: -forest.score_samples(x) > limit
