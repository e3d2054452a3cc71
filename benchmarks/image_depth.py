"""Scenes of a camera of 12 bits: as files of 16 bits, as an array, and brought to 8 bits before, well and badly."""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import numpy as np
import numpy.typing as npt
from PIL import Image
from sklearn.metrics import roc_auc_score

from benchmarks.markdown import table
from kilter.service.detector import Detector
from kilter.training.config import TrainConfig
from kilter.training.data.source import TrainingSource
from kilter.training.pipeline import train_model

SIZE = 24
WHITE = 4095
CONTRAST, GRAIN, DEFECT = 0.05, 0.004, 0.05
"""Of a scene, of its noise (a standard deviation) and of a spot, as shares of what the camera can hold."""
Scenes = npt.NDArray[np.uint16]


class Figures(msgspec.Struct):
    """ROC AUC of each kind of source, and the share of verdicts that differ between models of files and of arrays."""

    roc_auc: dict[str, float]
    differing: float


def scenes(count: int, rng: np.random.Generator, *, defective: bool) -> Scenes:
    """Smooth surfaces with grain, (count, SIZE, SIZE); of the defective ones each has a spot."""
    y, x = np.mgrid[0:SIZE, 0:SIZE] / SIZE
    made = np.empty((count, SIZE, SIZE))
    for i in range(count):
        a, b = rng.uniform(0, 6, 2)
        made[i] = 0.4 + CONTRAST * np.sin(5 * x + a) * np.cos(4 * y + b) + rng.normal(0, GRAIN, (SIZE, SIZE))
        if defective:
            centre, radius = rng.uniform(0.2, 0.8, 2), rng.uniform(0.06, 0.12)
            distance = np.hypot(x - centre[0], y - centre[1])
            made[i] += rng.choice([-1, 1]) * DEFECT * (distance < radius)
    scaled: Scenes = np.rint(np.clip(made, 0, 1) * WHITE).astype(np.uint16)
    return scaled


def measured(count: int, config: TrainConfig, seed: int) -> Figures:
    """Models of `count` scenes in each form, on half as many new ones and as many with a defect."""
    rng = np.random.default_rng(seed)
    normal, fresh, odd = (scenes(n, rng, defective=i == 2) for i, n in enumerate((count, count // 2, count // 2)))
    tested = np.concatenate([fresh, odd])
    with TemporaryDirectory() as place:
        folder = Path(place)
        np.save(folder / "array.npy", normal)
        _write(folder / "files", normal)
        forms = {"files": _write(folder / "new", tested)}
        forms["array"] = forms["files"]
        for name, white in (("stretched", WHITE), ("dark", 65_535)):
            _write(folder / name, _eight(normal, white))
            forms[name] = _write(folder / f"new-{name}", _eight(tested, white))
        models = {
            name: train_model(TrainingSource((folder / source,)), name, folder / "models", config)[0]
            for name, source in zip(forms, ("files", "array.npy", "stretched", "dark"), strict=True)
        }
    anomalous = np.arange(len(tested)) >= len(fresh)
    areas = {name: float(roc_auc_score(anomalous, _scores(models[name], form))) for name, form in forms.items()}
    verdicts = [models[name].score(tested).p_value for name in ("files", "array")]
    records = [{"image": content} for content in forms["files"]]
    verdicts += [models[name].score(records).p_value for name in ("files", "array")]
    return Figures(areas, float(np.mean([np.ptp(row) > 0 for row in zip(*verdicts, strict=True)])))


def _scores(model: Detector, files: list[bytes]) -> npt.NDArray[np.float64]:
    return model.score([{"image": content} for content in files]).score


def _eight(deep: Scenes, white: int) -> npt.NDArray[np.uint8]:
    """The same in 8 bits: stretched by what the camera fills, or dark by all that a file holds."""
    eight: npt.NDArray[np.uint8] = np.rint(deep * (255 / white)).astype(np.uint8)
    return eight


def _write(folder: Path, pictures: npt.NDArray[np.uint8] | Scenes) -> list[bytes]:
    """Write pictures as PNG, and return the files' bytes."""
    folder.mkdir()
    paths = [folder / f"{i:04d}.png" for i in range(len(pictures))]
    for path, picture in zip(paths, pictures, strict=True):
        Image.fromarray(picture).save(path)
    return [path.read_bytes() for path in paths]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=400, help="scenes to train on")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    rows = []
    for seed in range(arguments.seeds):
        found = measured(arguments.count, TrainConfig(baselines=False, seed=seed), seed)
        rows.append([str(seed), *(f"{area:.3f}" for area in found.roc_auc.values()), f"{100 * found.differing:.0f} %"])
    print(table(["seed", "files", "array", "stretched to 8 bits", "8 bits of 16", "verdicts that differ"], rows))


if __name__ == "__main__":
    main()
