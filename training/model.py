"""A model in memory: fitted, exported and calibrated, not yet on disk."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from torch import Tensor

from kilter.service.detector.artifact import Programs
from kilter.service.detector.calibration import Calibration
from kilter.service.detector.detector import Scorer
from kilter.service.detector.inputs import take
from kilter.service.detector.modality import modality_of
from kilter.service.detector.networks.image import ImageVAE
from kilter.service.detector.networks.scored import ScoredTabular
from kilter.service.detector.networks.scored_image import ScoredImage
from kilter.service.detector.runtime import OnnxProgram, pick_device
from kilter.service.detector.schema import Schema
from kilter.training.backbone.joining import export_joined
from kilter.training.backbone.program import ScoredFeatures
from kilter.training.backbone.reading import Backbone
from kilter.training.backbone.scoring import build_features_program
from kilter.training.config import TrainConfig
from kilter.training.data import Data
from kilter.training.export import export
from kilter.training.history import Epoch
from kilter.training.image_scoring import build_image_program
from kilter.training.networks import Network
from kilter.training.remedy import Remedy, fit_or_remedy
from kilter.training.scoring import build_program, score_rows
from kilter.training.split import Split, split, time_of
from kilter.training.statistics import fit_schema
from kilter.training.thresholds import Calibrated, Rows, thresholds_of_fit

DIGITS = 4


@dataclass(frozen=True)
class Fitted:
    """A fitted and calibrated model that is not yet on disk."""

    scorer: Scorer
    thresholds: Calibrated
    calibration_scores: npt.NDArray[np.float64]
    """Scores of the calibration rows, each as if the model had never seen it, (n,)."""
    known: bool
    """Whether the calibration rows are in the memory that the score looks into."""
    module: ScoredTabular | ScoredImage | ScoredFeatures
    programs: Programs
    history: list[Epoch]
    remedy: Remedy | None
    """What was done if the posterior collapsed."""
    split: Split
    export_cpu_s: float
    """CPU seconds that the export took, which is no part of a comparison of fits."""

    @property
    def met(self) -> bool:
        """Whether calibration rows stand in for held-out ones, of which there are none, and the memory knows them."""
        return self.known and not len(self.split.held_out)

    @property
    def calibration(self) -> Calibration:
        """The common calibration."""
        return self.thresholds.common


def fit_model(
    data: Data,
    config: TrainConfig,
    *,
    backbone: Backbone | None = None,
    checkpoint: Path | None = None,
    progress: Callable[[int, int, Epoch | None], None] = lambda step, steps, epoch: None,
) -> Fitted:
    """Split, fit, export and calibrate; of pictures the score may be that of a backbone's features."""
    normal = np.flatnonzero(data.readable if data.labels is None else data.readable & ~data.labels.anomalous)
    parts = split(normal, config.target_fpr, config.seed, time_of(data.draft, data.table, config.split))
    schema = fit_schema(data.draft, data.table, parts.fit)
    modality = modality_of(schema)
    x = np.concatenate([*modality.encode(take(data.table, parts.fit))])
    device = pick_device(config.device)
    network, history, remedy = fit_or_remedy(
        x, schema, config.fit, seed=config.seed, device=device, checkpoint=checkpoint, progress=progress
    )
    table = take(data.table, parts.calibration)
    # Of rows split by time the newest calibrate: they are close to each other as rows to come will not be.
    remembered = modality.name == "table" and parts.how == "random"
    calibration = next(modality.encode(table)) if remembered else x[:0]
    module, own = _program(network.cpu(), x, calibration, schema, config, backbone)
    began = time.process_time()
    if backbone is not None and isinstance(module, ScoredFeatures):
        programs = export_joined(module, backbone, x.shape[1])
    else:
        programs = export(module, x.shape[1])
    export_cpu_s = time.process_time() - began
    modality = modality_of(schema, getattr(module.shape, "grid", None))
    scorer = Scorer(modality, OnnxProgram(*programs, x.shape[1], modality.rows_per_call("cpu")))
    if own is not None and isinstance(module, ScoredTabular):
        left_out = score_rows(module, calibration, own)
    else:
        left_out = scorer.score(table).score
    thresholds = thresholds_of_fit(data, config, parts, scorer, Rows(table, left_out), DIGITS)
    return Fitted(scorer, thresholds, left_out, own is not None, module, programs, history, remedy, parts, export_cpu_s)


def _program(
    network: Network,
    x: npt.NDArray[np.float32],
    calibration: npt.NDArray[np.float32],
    schema: Schema,
    config: TrainConfig,
    backbone: Backbone | None,
) -> tuple[ScoredTabular | ScoredImage | ScoredFeatures, Tensor | None]:
    if not isinstance(network, ImageVAE):
        return build_program(network, x, calibration, schema, config.score, config.memory_rows, config.seed)
    if backbone is not None:
        return build_features_program(network, backbone, x, config.memory_rows, config.seed), None
    return build_image_program(network, x, config.score, config.memory_rows, config.seed), None
