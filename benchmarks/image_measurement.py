"""One method on one split of pictures: what is measured of it, and how."""

import tempfile
import time
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
from sklearn.metrics import average_precision_score, roc_auc_score

from benchmarks.clock import timed
from benchmarks.image_location import located
from benchmarks.image_peers import PEERS
from benchmarks.image_sets import Picture, Pixels, Split, digits, one_digit, pixels, surfaces
from kilter.service.detector.pictures.column import ImageColumn
from kilter.training.config import read_config
from kilter.training.data.source import TrainingSource
from kilter.training.pipeline import train_model

OURS = "kilter"
MNIST = "MNIST"
RANDOM = "surfaces, split at random"
APART = "surfaces, near-duplicates on one side"
SIZES = {MNIST: 28, RANDOM: 64, APART: 64}
"""Pixels in each direction that the peers see."""
TIMED = 256
"""Pictures in the batch whose scoring is timed."""

Floats = npt.NDArray[np.float64]


class Line(msgspec.Struct, frozen=True):
    """A line of the ledger. Figures are None where they do not apply, or the method failed; `error` says how."""

    set: str
    part: int
    """The digit, or the seed of the split."""
    method: str
    train: int
    normal: int
    anomalous: int
    auroc: float | None = None
    ap: float | None = None
    fit_cpu_s: float | None = None
    """Ours from the files to the packaged model, with its report."""
    fit_s: float | None = None
    image_us: float | None = None
    """CPU microseconds per picture in a batch, ours from pixels to verdicts."""
    target_fpr: float | None = None
    realised_fpr: float | None = None
    pixel_auroc: float | None = None
    """This and what follows as in `benchmarks.image_location.Located`."""
    pixel_auroc_each: float | None = None
    made_auroc: float | None = None
    made_pixel_auroc: float | None = None
    made_pixel_auroc_each: float | None = None
    error: str | None = None


class Task(NamedTuple):
    """Some methods on one split."""

    folder: Path
    set: str
    part: int
    methods: tuple[str, ...]
    config: Path | None

    def __str__(self) -> str:
        return f"{self.set}, {self.part}: {', '.join(self.methods)}"


def measure(task: Task) -> list[Line]:
    """Measure every method of a task."""
    if task.set == MNIST:
        split = one_digit(*_digits(task.folder), task.part)
    else:
        split = surfaces(task.folder, task.part, apart=task.set == APART)
    found = []
    for method in task.methods:
        normal, anomalous = int((~split.anomalous).sum()), int(split.anomalous.sum())
        line = Line(task.set, task.part, method, len(split.train), normal, anomalous)
        try:
            line = _ours(line, split, task) if method == OURS else _peer(line, split)
        except Exception as error:
            line = msgspec.structs.replace(line, error=" ".join(f"{type(error).__name__}: {error}".split()))
        found.append(line)
    return found


@cache
def _digits(folder: Path) -> tuple[Pixels, npt.NDArray[np.int64]]:
    return digits(folder)


def _peer(line: Line, split: Split) -> Line:
    size = SIZES[line.set]
    peer = PEERS[line.method]
    column = ImageColumn("image", size, size, 1)
    fitted, tested = (
        peer.prepare((pixels(pictures, column).reshape(len(pictures), -1) / 255).astype(np.float32))
        for pictures in (split.train, split.test)
    )
    began = time.perf_counter()
    score, cpu = timed(lambda: peer.fit(fitted, line.part))
    wall = time.perf_counter() - began
    batch = np.resize(tested, (TIMED, tested.shape[1]))
    score(batch)
    _, spent = timed(lambda: score(batch))
    return _judged(line, score(tested), split, cpu, wall, 1e6 * spent / TIMED)


def _ours(line: Line, split: Split, task: Task) -> Line:
    settings = read_config(task.config, device="cpu")
    with tempfile.TemporaryDirectory(prefix="kilter-") as place:
        source = TrainingSource((written(split.train, Path(place)),))
        began = time.perf_counter()
        (detector, _, _), cpu = timed(lambda: train_model(source, "pictures", Path(place) / "models", settings))
        wall = time.perf_counter() - began
    found = detector.score(records(split.test), reasons=1)
    column = detector.schema.columns[0]
    if not isinstance(column, ImageColumn) or found.evidence is None:
        raise TypeError("a model of pictures was expected")
    batch = np.resize(pixels(split.test[:TIMED], column), (TIMED, *column.shape))
    detector.score(batch)
    _, spent = timed(lambda: detector.score(batch))
    line = _judged(line, found.score, split, cpu, wall, 1e6 * spent / TIMED)
    line = msgspec.structs.replace(
        line,
        target_fpr=detector.calibration.target_fpr,
        realised_fpr=float(found.anomaly[~split.anomalous].mean()),
    )
    if line.set == MNIST:
        return line
    return msgspec.structs.replace(line, **located(detector, split, found.evidence, line.part)._asdict())


def _judged(line: Line, scores: Floats, split: Split, cpu: float, wall: float, image_us: float) -> Line:
    return msgspec.structs.replace(
        line,
        auroc=float(roc_auc_score(split.anomalous, scores)),
        ap=float(average_precision_score(split.anomalous, scores)),
        fit_cpu_s=cpu,
        fit_s=wall,
        image_us=image_us,
    )


def written(pictures: list[Picture], folder: Path) -> Path:
    """Pictures where training reads them: arrays in an npy file, files as links in a folder."""
    arrays = [one for one in pictures if not isinstance(one, Path)]
    if arrays:
        np.save(folder / "train.npy", np.stack(arrays))
        return folder / "train.npy"
    (folder / "train").mkdir()
    for i, one in enumerate(pictures):
        if isinstance(one, Path):
            (folder / "train" / f"{i:05d}{one.suffix}").symlink_to(one.resolve())
    return folder / "train"


def records(pictures: list[Picture]) -> list[dict[str, Any]]:
    """Pictures as a detector takes them."""
    return [{"image": one.read_bytes() if isinstance(one, Path) else one} for one in pictures]
