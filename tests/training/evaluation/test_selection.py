"""Tests of `evaluation.selection`: the choice of a detector by how well each separates."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kilter.service.detector.arrays import Floats, Matrix
from kilter.service.detector.columns import Feature
from kilter.service.detector.errors import KilterError
from kilter.service.detector.findings import DetectorChoice
from kilter.service.detector.scores import detector_names
from kilter.training.config import FitConfig, TrainConfig
from kilter.training.data.source import TrainingData, TrainingSource
from kilter.training.data.tables import read_tables
from kilter.training.evaluation import selection
from kilter.training.evaluation.selection import (
    FOLDS,
    SPREADS,
    choose_detector,
    displaced,
    make_trials,
    mean_and_error,
    settle,
)
from kilter.training.fitting.model import divide
from tests.support.shallow import MIXED, ROWS, mixed_rows

BRIEF = TrainConfig(detector="auto", split="random", fit=FitConfig(steps=100, members=1, hidden=16))
FEATURES = (*MIXED.features(), Feature(7, "gaussian"), Feature(7, "gaussian"))


def data_of(x: Floats) -> TrainingData:
    """Numbers as they are read from a file."""
    return read_tables(TrainingSource(frame=pl.DataFrame({f"n{i}": values for i, values in enumerate(x.T)})))


def factors(rng: np.random.Generator) -> Floats:
    """A linear table with little noise: ten columns of three causes, one of which is heavy-tailed."""
    causes = rng.normal(size=(500, 3))
    causes[:, 0] = rng.standard_t(4, 500)
    return np.asarray(causes @ rng.normal(size=(3, 10)) + 0.05 * rng.normal(size=(500, 10)))


def clusters(rng: np.random.Generator) -> Floats:
    """Two Gaussian clouds with correlations of their own."""
    first, second = (rng.normal(size=(6, 6)) for _ in range(2))
    rows = rng.normal(size=(600, 6))
    return np.concatenate([rows[:300] @ first, rows[300:] @ second + 6])


def curve(rng: np.random.Generator) -> Floats:
    """A winding curve: only near ones are alike."""
    t = rng.uniform(0, 40, 800)
    waves = [np.sin(t), np.cos(1.3 * t), np.sin(1.7 * t + 1), np.cos(2.1 * t)]
    return np.column_stack(waves) + 0.01 * rng.normal(size=(800, 4))


@pytest.mark.parametrize(("make", "best"), [(factors, {"pca", "gmm"}), (clusters, {"gmm"}), (curve, {"nearest"})])
def test_it_chooses_what_a_table_is_made_for(make: Callable[[np.random.Generator], Floats], best: set[str]) -> None:
    """A linear table, one of clouds, and one that nothing but its rows describes, after a brief fit of the VAE, which
    judges by its ELBO here: its default score remembers rows, too."""
    choice = choose_detector(data_of(make(np.random.default_rng(0))), msgspec.structs.replace(BRIEF, score="elbo"))
    assert [trial.detector for trial in choice.trials] == [*detector_names()]
    assert choice.chosen in best
    gains = {trial.detector: trial.gain for trial in choice.trials}
    gain = gains[choice.chosen]
    assert gain is not None
    assert gain.mean > gain.error
    assert f"{choice.chosen} separates better than vae" in choice.reason


def test_it_is_the_same_every_time_and_looks_at_fitting_rows_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """One seed, one choice; other values in the calibration rows change nothing."""
    monkeypatch.setattr(selection, "detector_names", lambda: ("vae", "pca"))
    x = factors(np.random.default_rng(0))
    data = data_of(x)
    parts, _ = divide(data, BRIEF)
    changed = x.copy()
    changed[parts.calibration] += 0.5
    assert choose_detector(data, BRIEF) == choose_detector(data_of(changed), BRIEF)


def test_a_detector_that_cannot_be_fitted_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its reason: `pca` has nothing to find where one column varies."""
    monkeypatch.setattr(selection, "detector_names", lambda: ("vae", "pca", "iforest"))
    source = tmp_path / "one.csv"
    source.write_text("a\n" + "\n".join(map(str, np.random.default_rng(0).normal(size=200))))
    choice = choose_detector(read_tables(TrainingSource((source,))), BRIEF)
    refused = [trial for trial in choice.trials if trial.refusal]
    assert [trial.detector for trial in refused] == ["pca"]
    assert "one feature varies" in refused[0].refusal
    assert refused[0].both is None
    assert choice.chosen in ("vae", "iforest")


def test_rows_that_are_too_few_for_the_vae_are_refused() -> None:
    with pytest.raises(KilterError, match="at least 30"):
        choose_detector(data_of(np.random.default_rng(0).normal(size=(20, 3))), BRIEF)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20)
def test_displaced_rows_are_wider_and_keep_their_form(seed: int) -> None:
    """Numbers move, by the spreads of noise; flags stay flags, levels levels, times those of other rows, and what is
    missing stays missing where the whole column does not come from another row."""
    rng = np.random.default_rng(seed)
    angle = rng.uniform(0, 6, ROWS)
    x = np.column_stack([mixed_rows(ROWS, seed), np.sin(angle), np.cos(angle)]).astype(np.float32)
    made = displaced(FEATURES, x, x, rng)
    assert len(made) == ROWS
    assert (np.isnan(made[:, 1]) == np.isnan(x[:, 1])).all()
    assert set(made[:, 4]) == {0.0}
    assert set(made[:, 5]) <= {0.0, 1.0}
    assert set(made[:, 6]) <= {0.0, 1.0, 2.0}
    assert made[:, 7] ** 2 + made[:, 8] ** 2 == pytest.approx(np.ones(ROWS), abs=1e-5)
    moved = ((made - x)[:, [0, 2, 3]] / x[:, [0, 2, 3]].std(0)).std(0)
    assert moved == pytest.approx(np.full(3, np.sqrt(np.mean(np.square(SPREADS)))), rel=0.3)


def test_folds_are_judged_by_what_did_not_see_them() -> None:
    """Each row is judged once, rows of one entity in one fold, and one of the seven fields of a swapped row is
    another's."""
    x, entities = mixed_rows(ROWS), np.arange(ROWS) // 3
    trials = make_trials(x, MIXED.features(), 0, entities)
    assert len(trials) == FOLDS
    assert sum(len(trial.normal) for trial in trials) == ROWS
    for trial in trials:
        held = set(range(ROWS)) - set(trial.seen.tolist())
        assert set(entities[trial.seen]).isdisjoint(entities[sorted(held)])
        assert {row.tobytes() for row in trial.normal} == {row.tobytes() for row in x[sorted(held)]}
        swap = trial.made[0]
        nearest = min(_different(swap[0], row) for row in trial.normal)
        assert nearest == 1


def _different(one: Matrix, other: Matrix) -> int:
    return int((~((one == other) | (np.isnan(one) & np.isnan(other)))).sum())


def chosen(**figures: list[float]) -> DetectorChoice:
    """The choice by the AUROC of detectors in five folds, the same for both kinds."""
    return settle({name: np.array([values, values]).T for name, values in figures.items()}, {}, 100)


def test_the_vae_is_kept_unless_another_is_surely_better() -> None:
    """By more than one standard error of the difference in the folds, and by more than nobody would notice."""
    vae = [0.7, 0.8, 0.9, 0.8, 0.7]
    assert chosen(vae=vae, pca=[0.9, 0.7, 0.9, 0.8, 0.75]).chosen == "vae"
    assert chosen(vae=vae, pca=[value + 0.004 for value in vae]).chosen == "vae"
    assert chosen(vae=vae, pca=[value + 0.02 for value in vae]).chosen == "pca"
    both = chosen(vae=vae, pca=[value + 0.02 for value in vae], gmm=[value + 0.03 for value in vae])
    assert both.chosen == "gmm"
    gain = both.trials[2].gain
    assert gain is not None
    assert gain.mean == pytest.approx(0.03)
    assert gain.error == pytest.approx(0, abs=1e-12)


def test_a_kind_that_could_not_be_made_counts_for_nothing() -> None:
    """Rows that are all alike have nothing to swap: the other kind decides."""
    figures = {
        "vae": np.array([[np.nan, 0.8], [0.5, 0.7]]),
        "pca": np.array([[np.nan, 0.9], [0.2, 0.8]]),
    }
    choice = settle(figures, {}, 100)
    assert choice.chosen == "pca"
    assert choice.trials[0].swapped is None
    assert choice.trials[1].displaced == mean_and_error(np.array([0.9, 0.8]))
    nothing = settle({name: np.full((5, 2), np.nan) for name in ("vae", "pca")}, {}, 100)
    assert nothing.chosen == "vae"
