"""Tests of `fitting.model`: from typed rows to a scored and exported model in memory."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from kilter.service.detector.inputs import take
from kilter.service.detector.runtime import PROGRAMS
from kilter.training.config import FitConfig, TrainConfig
from kilter.training.data.source import TrainingData, TrainingSource, silent
from kilter.training.fitting.model import CHUNK, fit_model, score_rows, suspicion
from kilter.training.modality import modality_of_source

BRIEF = TrainConfig(target_fpr=0.05, fit=FitConfig(steps=20, hidden=8))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> TrainingData:
    """200 rows of two numbers."""
    path = tmp_path_factory.mktemp("model") / "rows.csv"
    rows = np.random.default_rng(0).normal(size=(200, 2)).round(4)
    path.write_text("a,b\n" + "".join(f"{a},{b}\n" for a, b in rows))
    source = TrainingSource((path,))
    return modality_of_source(source).read(source, None, silent)


@pytest.mark.e2e
def test_a_seed_gives_one_model(data: TrainingData) -> None:
    """To the last byte of its programs; another seed gives another."""
    first, again, other = (fit_model(data, TrainConfig(0.05, seed=seed, fit=BRIEF.fit)) for seed in (3, 3, 4))
    assert first.programs == again.programs
    assert np.array_equal(first.calibration_scores, again.calibration_scores)
    assert first.programs["score"] != other.programs["score"]


def test_a_model_has_its_parts_and_their_names(data: TrainingData) -> None:
    fitted = fit_model(data, BRIEF)
    assert fitted.programs.keys() == PROGRAMS.keys()
    assert fitted.module.score.members is not None
    assert (fitted.network_kind, fitted.score_kind) == ("tabular-vae", "weighted-surprise")
    assert fitted.schema.rows == len(fitted.split.fit)
    assert len(fitted.calibration_scores) == len(fitted.split.calibration)


def test_calibration_rows_in_the_memory_are_scored_without_themselves(data: TrainingData) -> None:
    """They stand in for held-out rows, of which there are none; alone each would be found at no distance."""
    fitted = fit_model(data, BRIEF)
    assert fitted.holds_calibration
    assert fitted.stands_in
    known = fitted.scorer.score(take(data.table, fitted.split.calibration)).score
    assert (known < fitted.calibration_scores).mean() > 0.9


@pytest.mark.parametrize("settings", [{"split": "time"}, {"score": "elbo"}])
def test_calibration_rows_are_new_to_the_model_otherwise(data: TrainingData, settings: dict[str, str]) -> None:
    """By time, since rows to come are not close to one another; and where a score has no memory."""
    fitted = fit_model(data, TrainConfig(0.05, fit=BRIEF.fit, **settings))  # type: ignore[arg-type]
    assert not fitted.holds_calibration
    assert not fitted.stands_in
    again = fitted.scorer.score(take(data.table, fitted.split.calibration)).score
    np.testing.assert_array_equal(fitted.calibration_scores, again)


class Own(nn.Module):
    """Gives the sum of a record, less the number of the row that it is itself."""

    def forward(self, x: Tensor, own: Tensor | None = None) -> tuple[Tensor]:
        return (x.sum(1) - (0 if own is None else own),)


@pytest.mark.parametrize("rows", [1, CHUNK, 2 * CHUNK + 3])
def test_rows_are_scored_in_order_whatever_their_number(rows: int) -> None:
    """Each with its own row of the memory, if one is given."""
    x = np.arange(rows, dtype=np.float32)[:, None]
    module: nn.Module = Own()
    np.testing.assert_array_equal(score_rows(module, x), x[:, 0])  # type: ignore[arg-type]
    np.testing.assert_array_equal(score_rows(module, x, torch.arange(rows)), 0)  # type: ignore[arg-type]


def test_suspects_are_a_fifth_and_those_far_out_among_them() -> None:
    """New points are held against the forest of the first ones."""
    points = np.random.default_rng(0).normal(size=(500, 3)).astype(np.float32)
    suspect = suspicion(points, 2**40)
    assert 0.15 < suspect(points).mean() <= 0.2
    assert suspect(np.array([[9, 9, 9], [0, 0, 0]], np.float32)).tolist() == [True, False]


@pytest.mark.e2e
def test_a_fit_tells_of_its_steps(data: TrainingData, tmp_path: Path) -> None:
    """And leaves no checkpoint behind."""
    steps: list[tuple[int, int]] = []
    checkpoint = tmp_path / "fit.safetensors"
    fit_model(data, BRIEF, checkpoint=checkpoint, progress=lambda i, of, _: steps.append((i, of)))
    assert steps == [(i, 20) for i in range(1, 21)]
    assert not checkpoint.exists()
