"""From files or a frame to a model: read, infer, split, fit, calibrate, examine, package, and load it from disk."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from kilter.service.detector import store
from kilter.service.detector.detector import Detector, load
from kilter.service.detector.errors import KilterError
from kilter.service.detector.findings import Evaluation
from kilter.training.config import TrainConfig
from kilter.training.data.source import Progress, TrainingSource, silent
from kilter.training.evaluation.thresholds import check_labels, thresholds_of_fit
from kilter.training.fitting.backbone import read_backbone
from kilter.training.fitting.fit import FitProgress
from kilter.training.fitting.model import fit_model
from kilter.training.modality import modality_of_source
from kilter.training.package import Trained, examine


def train_model(
    source: TrainingSource,
    name: str,
    models: Path,
    config: TrainConfig,
    *,
    backbone: Path | None = None,
    say: Callable[[str], None] = lambda line: None,
    progress: FitProgress = lambda step, steps, epoch: None,
    reading: Progress = silent,
) -> tuple[Detector, Path, Evaluation]:
    """`learn` a model and write it as the next version; return it as loaded from disk, its folder and its evaluation.

    Nothing is written unless all of it succeeds, but for a checkpoint, by which the next run continues an interrupted
    one.
    """
    store.check_name(name)
    checkpoint = models / name / ".fit.safetensors"
    trained = learn(
        source, config, backbone=backbone, checkpoint=checkpoint, say=say, progress=progress, reading=reading
    )
    folder = store.add(models, name, partial(trained.files, name))
    return load(folder), folder, trained.run.evaluation


def learn(
    source: TrainingSource,
    config: TrainConfig,
    *,
    backbone: Path | None = None,
    checkpoint: Path | None = None,
    say: Callable[[str], None] = lambda line: None,
    progress: FitProgress = lambda step, steps, epoch: None,
    reading: Progress = silent,
) -> Trained:
    """Train a model in memory, which gives the files of its artifact under any name and version.

    `backbone` is an ONNX file with a pretrained network, by whose local features pictures are judged, and `checkpoint`
    the file from which an interrupted fit continues. `say` is called with each decision about the data, `progress`
    after each step of the fit. Raises KilterError for whatever the user can put right.
    """
    modality = modality_of_source(source)
    pretrained = None
    if backbone is not None:
        if config.score != "neighbours":
            raise KilterError(f"--backbone is for the score neighbours, not {config.score}: leave one of the two out")
        if not modality.takes_backbone:
            raise KilterError(f"--backbone is for pictures, and {source.name} holds a table")
        pretrained = read_backbone(backbone)
    data = modality.read(source, pretrained, reading)
    check_labels(config.threshold, int(data.labels.anomalous.sum()) if data.labels else 0)
    for decision in data.decisions:
        say(f"  {decision.name}: {decision.kind} ({decision.why})")
    for note in data.notes:
        say(note)
    fitted = fit_model(
        data, config, remedied=modality.remedies_collapse, backbone=pretrained, checkpoint=checkpoint, progress=progress
    )
    return examine(data, fitted, thresholds_of_fit(data, config, fitted), config, modality)
