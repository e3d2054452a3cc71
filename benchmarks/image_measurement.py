"""One method on one split of pictures: what is measured of it, and how."""

import io
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.stats import rankdata
from sklearn.metrics import average_precision_score, roc_auc_score

from benchmarks.clock import timed
from benchmarks.image_defects import defective
from benchmarks.image_peers import PEERS
from benchmarks.image_sets import Mask, Picture, Pixels, Split, digits, one_digit, pixels, surfaces
from service.detector import Detector
from service.detector.schema import ImageColumn
from training.config import read_config
from training.data import Source
from training.pipeline import train

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
    """Of the heat maps against the masks, over the pixels of all pictures with a defect; `pixel_auroc_each` is the mean
    of their own."""
    pixel_auroc_each: float | None = None
    made_auroc: float | None = None
    """Of good pictures with a drawn defect against those without; the others are of their pixels."""
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
        source = Source((written(split.train, Path(place)),))
        began = time.perf_counter()
        (detector, _, _), cpu = timed(lambda: train(source, "pictures", Path(place) / "models", settings))
        wall = time.perf_counter() - began
    found = detector.score(records(split.test), reasons=1)
    column = detector.schema.image
    if column is None or found.evidence is None:
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
    return line if line.set == MNIST else _located(line, detector, split, found.evidence)


def _judged(line: Line, scores: Floats, split: Split, cpu: float, wall: float, image_us: float) -> Line:
    return msgspec.structs.replace(
        line,
        auroc=float(roc_auc_score(split.anomalous, scores)),
        ap=float(average_precision_score(split.anomalous, scores)),
        fit_cpu_s=cpu,
        fit_s=wall,
        image_us=image_us,
    )


def _located(line: Line, detector: Detector, split: Split, evidence: Floats) -> Line:
    """How well heat maps show where defects are: those that there are, and such as are drawn into good pictures."""
    heats, masks = [], []
    for own, path in zip(evidence, split.masks, strict=True):
        if path is not None:
            mask = np.asarray(Image.open(path).convert("L")) > 127
            masks.append(mask)
            heats.append(enlarged(own, detector, mask.shape))
    good = [np.asarray(_opened(one)) for one, odd in zip(split.test, split.anomalous, strict=True) if not odd]
    rng = np.random.default_rng(line.part)
    made = [defective(one, good[rng.integers(len(good))], rng) for one in good]
    plain, found = (
        detector.score([{"image": picture} for picture in pictures], reasons=1)
        for pictures in (good, [defect.picture for defect in made])
    )
    if found.evidence is None:
        raise TypeError("evidence was asked for")
    made_heats = [enlarged(own, detector, defect.mask.shape) for own, defect in zip(found.evidence, made, strict=True)]
    made_masks = [defect.mask for defect in made]
    labels = np.repeat([False, True], len(good))
    return msgspec.structs.replace(
        line,
        pixel_auroc=_auroc(np.concatenate([*map(np.ravel, masks)]), np.concatenate([*map(np.ravel, heats)])),
        pixel_auroc_each=_each(masks, heats),
        made_auroc=float(roc_auc_score(labels, np.concatenate([plain.score, found.score]))),
        made_pixel_auroc=_auroc(
            np.concatenate([*map(np.ravel, made_masks)]), np.concatenate([*map(np.ravel, made_heats)])
        ),
        made_pixel_auroc_each=_each(made_masks, made_heats),
    )


def enlarged(evidence: Floats, detector: Detector, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """The evidence of a picture, (rows * columns) of the detector's grid, as a heat map of a height and width."""
    if detector.grid is None:
        raise TypeError("a model of pictures was expected")
    cells = Image.fromarray(evidence.reshape(detector.grid).astype(np.float32))
    return np.asarray(cells.resize((shape[1], shape[0]), Image.Resampling.BILINEAR))


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


def _opened(picture: Picture) -> Image.Image:
    content = Image.open(io.BytesIO(picture.read_bytes())) if isinstance(picture, Path) else Image.fromarray(picture)
    return content.convert("L")


def _each(masks: list[Mask], heats: list[npt.NDArray[np.float32]]) -> float:
    return float(np.mean([_auroc(m.ravel(), h.ravel()) for m, h in zip(masks, heats, strict=True) if 0 < m.mean() < 1]))


def _auroc(mask: Mask, heat: npt.NDArray[np.float32]) -> float:
    """Area under the ROC curve by ranks, which for millions of pixels takes less room than the curve."""
    inside = int(mask.sum())
    ranks = rankdata(heat)[mask].sum() - inside * (inside + 1) / 2
    return float(ranks / (inside * (mask.size - inside)))
