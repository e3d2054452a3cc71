"""From files to a model on disk: read, infer, split, fit, calibrate, evaluate, package, and prove it by loading it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from kilter.service.detector import store
from kilter.service.detector.columns import ImageColumn
from kilter.service.detector.detector import Detector, load
from kilter.service.detector.errors import KilterError
from kilter.training.backbone.reading import Backbone, read_backbone
from kilter.training.config import TrainConfig
from kilter.training.data import Data, Source, read
from kilter.training.evaluation import Evaluation
from kilter.training.history import Epoch
from kilter.training.model import fit_model
from kilter.training.package import package
from kilter.training.pictures.reading import holds_pictures, read_pictures
from kilter.training.threshold import check_labels


def train(
    source: Source,
    name: str,
    models: Path,
    config: TrainConfig,
    *,
    backbone: Path | None = None,
    say: Callable[[str], None] = lambda line: None,
    progress: Callable[[int, int, Epoch | None], None] = lambda step, steps, epoch: None,
    reading: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Detector, Path, Evaluation]:
    """Train a model and write it as the next version; return it as loaded from disk, its folder and its evaluation.

    `backbone` is an ONNX file with a pretrained network, by whose local features pictures are judged. `progress` is
    called after each step of the fit, and `reading` with the number of pictures decoded and of all. Raises KilterError
    for whatever the user can put right. Nothing is written unless all of it succeeds, but for a checkpoint that an
    interrupted run leaves behind and the next one takes up.
    """
    store.check_name(name)
    given = None if backbone is None else _backbone(backbone, source, config)
    data = _read(source, given, reading)
    check_labels(config.threshold, int(data.labels.anomalous.sum()) if data.labels else 0)
    for decision in data.decisions:
        say(f"  {decision.name}: {decision.kind} ({decision.why})")
    for note in data.notes:
        say(note)
    fitted = fit_model(data, config, backbone=given, checkpoint=models / name / ".fit.safetensors", progress=progress)
    packed: list[Evaluation] = []

    def files(version: int) -> dict[str, bytes]:
        content, evaluation = package(data, fitted, config, name, version)
        packed.append(evaluation)
        return content

    folder = store.add(models, name, files)
    return load(folder), folder, packed[-1]


def _backbone(path: Path, source: Source, config: TrainConfig) -> Backbone:
    """The backbone of a file. Raises KilterError if it is none, or what is trained has no use for one."""
    if config.score != "neighbours":
        raise KilterError(f"--backbone is for the score neighbours, not {config.score}: leave one of the two out")
    if not any(map(holds_pictures, source.paths)):
        raise KilterError(f"--backbone is for pictures, and {source.paths[0]} holds a table")
    return read_backbone(path)


def _read(source: Source, backbone: Backbone | None, reading: Callable[[int, int], None]) -> Data:
    """The training data; pictures at the size that the backbone takes, which is tried before anything is fitted."""
    if not any(map(holds_pictures, source.paths)):
        return read(source)
    if backbone is None:
        return read_pictures(source, reading)
    data = read_pictures(backbone.sized(source), reading)
    column = data.draft.columns[0]
    if isinstance(column, ImageColumn):
        backbone.shape(column.height, column.width)
    return replace(data, notes=(*data.notes, backbone.note))
