"""From files to a model on disk: read, infer, split, fit, calibrate, evaluate, package, and prove it by loading it."""

from collections.abc import Callable
from pathlib import Path

from service.detector import store
from service.detector.detector import Detector, load
from training.config import TrainConfig
from training.data import Source, read
from training.evaluation import Evaluation
from training.history import Epoch
from training.model import fit_model
from training.package import package
from training.pictures.reading import holds_pictures, read_pictures
from training.threshold import check_labels


def train(
    source: Source,
    name: str,
    models: Path,
    config: TrainConfig,
    *,
    say: Callable[[str], None] = lambda line: None,
    progress: Callable[[int, int, Epoch | None], None] = lambda step, steps, epoch: None,
    reading: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Detector, Path, Evaluation]:
    """Train a model and write it as the next version; return it as loaded from disk, its folder and its evaluation.

    `progress` is called after each step of the fit, and `reading` with the number of pictures decoded and of all.
    Raises KilterError for whatever the user can put right. Nothing is written unless all of it succeeds, but for a
    checkpoint that an interrupted run leaves behind and the next one takes up.
    """
    store.check_name(name)
    data = read_pictures(source, reading) if any(map(holds_pictures, source.paths)) else read(source)
    check_labels(config.threshold, int(data.labels.anomalous.sum()) if data.labels else 0)
    for decision in data.decisions:
        say(f"  {decision.name}: {decision.kind} ({decision.why})")
    for note in data.notes:
        say(note)
    fitted = fit_model(data, config, checkpoint=models / name / ".fit.safetensors", progress=progress)
    packed: list[Evaluation] = []

    def files(version: int) -> dict[str, bytes]:
        content, evaluation = package(data, fitted, config, name, version)
        packed.append(evaluation)
        return content

    folder = store.add(models, name, files)
    return load(folder), folder, packed[-1]
