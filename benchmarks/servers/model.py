"""The model that every server serves: 30 numeric fields, made up and fitted once, and its parts for servers by hand."""

import csv
import json
from pathlib import Path
from shutil import rmtree

import numpy as np

from benchmarks.servers import NAME
from benchmarks.servers.verdict import NUMBERS, PROGRAM
from benchmarks.speed import made_up
from kilter.service.detector import ArtifactError, Detector, artifact, load
from kilter.service.detector.columns import NumericColumn
from kilter.service.detector.store import resolve
from kilter.training.config import TrainConfig
from kilter.training.data.source import TrainingSource
from kilter.training.pipeline import train_model

FIELDS = 30
ROWS = 4000


def prepared(folder: Path, score: str) -> Path:
    """The folder of models with `bench` in it, fitted unless it is there, and beside it what `Judge` reads."""
    models = folder / f"models-{score}"
    detector = _fitted(folder, models, score)
    (by_hand(folder, score)).mkdir(exist_ok=True)
    found = artifact.read_artifact(resolve(models / NAME))
    (by_hand(folder, score) / PROGRAM).write_bytes(found.programs["score"])
    columns = [column for column in detector.schema.columns if isinstance(column, NumericColumn)]
    if len(columns) != FIELDS or any(c.transform != "identity" or c.constant is not None for c in columns):
        raise RuntimeError("the made-up columns are not all plain numbers: the servers by hand cannot encode them")
    np.savez(
        by_hand(folder, score) / NUMBERS,
        names=np.array([column.name for column in columns]),
        center=np.array([column.center for column in columns]),
        scale=np.array([column.scale for column in columns]),
        calibration=detector.calibration.scores,
        target_fpr=detector.calibration.target_fpr,
        digits=detector.calibration.digits,
    )
    return models


def _fitted(folder: Path, models: Path, score: str) -> Detector:
    if (models / NAME).exists():
        try:
            return load(models / NAME)
        except ArtifactError:
            rmtree(models)  # of another format: kept from before the code changed
    folder.mkdir(parents=True, exist_ok=True)
    table = folder / "training.csv"
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([f"x{i}" for i in range(FIELDS)])
        writer.writerows(made_up(ROWS, FIELDS).round(6).tolist())
    config = TrainConfig(score=score, split="random", device="cpu", baselines=False)
    return train_model(TrainingSource((table,)), NAME, models, config)[0]


def by_hand(folder: Path, score: str) -> Path:
    """Where the parts for servers without Kilter are."""
    return folder / f"by-hand-{score}"


def records(count: int, seed: int = 1) -> list[dict[str, float]]:
    """Records like the fitting rows, with a strange one now and then; complete, as not every protocol has null."""
    rng = np.random.default_rng(seed)
    rows = made_up(ROWS, FIELDS)[rng.integers(0, ROWS, count)] + rng.normal(scale=0.05, size=(count, FIELDS))
    rows[rng.random(count) < 0.02] *= 3
    return [{f"x{i}": round(float(value), 6) for i, value in enumerate(row)} for row in rows]


def expected(detector: Detector, sent: list[dict[str, float]]) -> list[float]:
    """The scores that every server must give."""
    return [float(score) for score in detector.score(sent).score]


def row_body(sent: list[dict[str, float]]) -> str:
    """A request's body as Kilter and the servers by hand take it."""
    return json.dumps({"records": sent})


def matrix_body(sent: list[dict[str, float]]) -> str:
    """The same as a matrix of the Open Inference Protocol."""
    data = [list(record.values()) for record in sent]
    tensor = {"name": "x", "shape": [len(data), FIELDS], "datatype": "FP64", "data": data}
    return json.dumps({"inputs": [tensor]})
