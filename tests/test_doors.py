"""Tests of the doors: what can be added from outside, by one piece of code and one entry in a registry.

Each test adds a thing that no module of the product knows, and takes it all the way: trained, written, loaded from disk
and scored with. Nothing but the registry is touched.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Self

import msgspec
import numpy as np
import pytest
import torch
from torch import Tensor

from kilter.service.detector import Detector, load
from kilter.service.detector.arrays import Array, Floats
from kilter.service.detector.columns import KINDS, Column, Feature
from kilter.service.detector.columns.base import describe_value
from kilter.service.detector.columns.cells import Decision, TrainingCells
from kilter.service.detector.networks import NETWORKS
from kilter.service.detector.networks.base import View
from kilter.service.detector.networks.tabular import TableNetwork
from kilter.service.detector.scores import SCORES, ScoreKind
from kilter.service.detector.scores.base import AnomalyScore, Material
from kilter.training.config import FitConfig, TrainConfig
from kilter.training.data.source import TrainingSource
from kilter.training.pipeline import train_model
from tests.support.linear import LinearVAE


def trained(folder: Path, config: TrainConfig, columns: dict[str, Iterable[Any]]) -> Detector:
    """A model of a table, trained, written and loaded again."""
    rows = zip(*columns.values(), strict=True)
    source = folder / "rows.csv"
    source.write_text("\n".join(",".join(map(str, row)) for row in [tuple(columns), *rows]) + "\n")
    _, version, _ = train_model(TrainingSource((source,)), "toy", folder / "models", config)
    return load(version)


def numbers(rows: int = 300) -> dict[str, Iterable[Any]]:
    """Columns of numbers, of which two depend on one another."""
    rng = np.random.default_rng(0)
    first = rng.normal(10, 2, rows).round(4)
    return {"a": first, "b": (3 * first + rng.normal(0, 1, rows)).round(4), "c": rng.normal(0, 1, rows).round(4)}


@pytest.mark.parametrize("score", ["neighbours", "elbo"])
def test_a_network(score: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A subclass of `Network`, and an entry in `NETWORKS`; every score that is for its records can be around it."""
    monkeypatch.setitem(NETWORKS, "linear", LinearVAE)
    config = TrainConfig(score=score, fit=FitConfig(network="linear", members=1, steps=300))
    detector = trained(tmp_path, config, numbers())
    assert detector.manifest.network.kind == "linear"
    assert detector.manifest.network.latent == 2
    verdicts = detector.score([{"a": 10.0, "b": 30.0, "c": 0.0}, {"a": 10.0, "b": 30.0, "c": 9.0}], reasons=1)
    assert verdicts.anomaly.tolist() == [False, True]
    assert verdicts.reasons is not None
    assert msgspec.to_builtins(verdicts.reasons[1][0])["feature"] == "c"


class CenterShape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What rebuilds a `Distance`: nothing but the number of values."""

    values: int


class Distance(AnomalyScore):
    """How far a record is from the mean of the fitting rows, in standard deviations."""

    shape_type = CenterShape
    center: Tensor

    def __init__(self, network: TableNetwork, shape: CenterShape) -> None:
        super().__init__()
        self.shape = shape
        self.register_buffer("center", torch.zeros(shape.values))

    @classmethod
    def fit(cls, network: TableNetwork, material: Material) -> tuple[Self, None]:
        score = cls(network, CenterShape(len(network.dense_feature)))
        score.center.copy_(network.dense(material.x).mean(0))
        return score, None

    def forward(self, network: Any, x: Tensor, view: View, other: Tensor | None = None) -> tuple[Tensor, Tensor]:
        square = (network.dense(x) - self.center).square()
        return square.sum(-1).sqrt(), square


def test_a_score(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A subclass of `AnomalyScore`, with its fitting beside it, and an entry in `SCORES`."""
    monkeypatch.setitem(SCORES, "distance", ScoreKind(Distance, "distance", "standard deviations", "table"))
    detector = trained(tmp_path, TrainConfig(score="distance", fit=FitConfig(steps=50)), numbers())
    assert detector.manifest.score.name == "distance"
    assert detector.manifest.score.unit == "standard deviations"
    verdicts = detector.score([{"a": 10.0, "b": 30.0, "c": 0.0}, {"a": 10.0, "b": 30.0, "c": 7.0}])
    assert verdicts.score[0] < 0.2
    assert verdicts.score[1] == pytest.approx(7, abs=0.7)
    assert verdicts.anomaly.tolist() == [False, True]


class DurationColumn(Column, msgspec.Struct, frozen=True, tag="duration", tag_field="kind"):
    """A time that something took, as minutes and seconds like `3:07`; to the network standardised seconds."""

    name: str
    center: float = 0.0
    scale: float = 1.0
    longest: float = 0.0
    missing: int = 0

    dtype = np.dtype(np.float64)
    absent = np.nan

    def features(self, index: int) -> tuple[Feature, ...]:
        return (Feature(index, "gaussian"),)

    def read(self, value: Any) -> float:
        match = DURATION.fullmatch(value) if isinstance(value, str) else None
        if match is None:
            raise ValueError(f"minutes and seconds like 3:07 are expected, not {describe_value(value)}")
        return 60.0 * int(match[1]) + int(match[2])

    def encode(self, values: Array) -> Array:
        return (values[:, None] - self.center) / self.scale

    def shown(self, value: Any) -> str | None:
        return None if np.isnan(value) else duration(value)

    def expected(self, features: Floats) -> str:
        return duration(features[0] * self.scale + self.center)

    def describe(self) -> str:
        return f"up to {duration(self.longest)}"

    def json_schema(self) -> dict[str, Any]:
        return {"type": ["string", "null"], "pattern": f"^{DURATION.pattern}$"}

    @classmethod
    def infer(cls, cells: TrainingCells) -> Decision | None:
        if cells.texts is None or not all(map(DURATION.fullmatch, cells.texts.to_list())):
            return None
        return Decision(cls(cells.name), "minutes and seconds", varies=True)

    def fit(self, values: Array) -> Self:
        present = values[~np.isnan(values)]
        center, scale, longest = float(present.mean()), float(present.std()), float(present.max())
        missing = len(values) - len(present)
        return msgspec.structs.replace(self, center=center, scale=scale, longest=longest, missing=missing)

    def usual(self, rng: np.random.Generator) -> str:
        return duration(min(max(rng.normal(self.center, self.scale), 0.0), self.longest))

    def odd(self, rng: np.random.Generator) -> str:
        return duration(3 * self.longest)


DURATION = re.compile(r"(\d+):([0-5]\d)")


def duration(seconds: float) -> str:
    """Seconds as minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02}"


@pytest.fixture
def kinds() -> Iterator[list[str | type[Column]]]:
    """The kinds of column, which are afterwards what they were."""
    before = [*KINDS]
    yield KINDS
    KINDS[:] = before


def test_a_kind_of_column(kinds: list[str | type[Column]], tmp_path: Path) -> None:
    """A subclass of `Column`, and an entry in `KINDS`, before the kinds that would take its cells for theirs."""
    kinds.insert(0, DurationColumn)
    lengths = np.random.default_rng(0).normal(100, 10, 300)
    columns: dict[str, Iterable[Any]] = {
        "length": lengths.round(2),
        "took": [duration(3 * length) for length in lengths],
    }
    detector = trained(tmp_path, TrainConfig(fit=FitConfig(steps=100)), columns)
    assert [column.kind for column in detector.schema.columns] == ["numeric", "duration"]
    records = [{"length": 100.0, "took": took} for took in ("5:00", "20:00", 7)]
    verdicts = detector.score(records, reasons=1, errors="mark")
    assert verdicts.anomaly.tolist() == [False, True, False]
    assert [str(problem) for problem in verdicts.problems] == [
        "record 2, field 'took': minutes and seconds like 3:07 are expected, not the number 7"
    ]
    assert verdicts.reasons is not None
    assert msgspec.to_builtins(verdicts.reasons[1][0])["observed"] == "20:00"
