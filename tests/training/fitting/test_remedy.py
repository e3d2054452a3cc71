"""Tests of `fitting.remedy`: a collapse is remedied, left alone where it is right, or owned up to."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from kilter.service.detector.columns import Feature, NumericColumn
from kilter.service.detector.findings import Remedy
from kilter.service.detector.schema import Schema
from kilter.training.config import FitConfig
from kilter.training.fitting.fit import fit
from kilter.training.fitting.remedy import (
    FitOutcome,
    fit_or_remedy,
    latent_activity,
    mutual_information,
    remedy_in_words,
    strongest_dependence,
)

SCHEMA = Schema(tuple(NumericColumn(f"n{i}", 0, 1, -3, 3) for i in range(4)), rows=600)
HEAVY = FitConfig(steps=200, hidden=16, members=1, weight_decay=1.0, warm_up=0.0)
"""Under so much decay, and a KL term at full weight from the first step, the posterior collapses."""


def bound(strength: float) -> npt.NDArray[np.float32]:
    """600 rows of four columns with a correlation of `strength` between each two."""
    rng = np.random.default_rng(0)
    common, own = rng.normal(size=(600, 1)), rng.normal(size=(600, 4))
    x: npt.NDArray[np.float32] = (np.sqrt(strength) * common + np.sqrt(1 - strength) * own).astype(np.float32)
    return x


def fitted(x: npt.NDArray[np.float32], config: FitConfig, checkpoint: Path | None = None) -> FitOutcome:
    """A fit of all columns, any of which may depend on others."""
    return fit_or_remedy(x, SCHEMA, config, seed=0, checkpoint=checkpoint)


def test_a_collapse_on_columns_that_belong_together_is_remedied(tmp_path: Path) -> None:
    """The second fit has units in use and a better ELBO on rows it did not see, and no checkpoint stays behind."""
    x = bound(0.9)
    network, history, remedy = fitted(x, HEAVY, tmp_path / ".fit.safetensors")
    assert remedy is not None
    assert remedy.helped
    assert not latent_activity(network, x).collapsed
    assert "fitted again with free bits" in remedy_in_words(remedy)
    assert history[-1].step == 200
    assert list(tmp_path.iterdir()) == []


def test_independent_columns_may_leave_the_latent_space_empty() -> None:
    """There is nothing to learn, so nothing is done: the fit is the first one, and no fault is found."""
    x = bound(0.0)
    config = FitConfig(steps=60, hidden=16, weight_decay=1.0)
    outcome = fitted(x, config)
    assert latent_activity(outcome.network, x).collapsed
    assert outcome.remedy == Remedy(None)
    assert "rightly so" in remedy_in_words(outcome.remedy)


def test_a_remedy_that_does_not_help_is_not_kept() -> None:
    """With far too few steps nothing helps: the first fit stays, and the sentence says so and what to try."""
    x = bound(0.9)
    config = FitConfig(steps=80, hidden=16, members=1)
    outcome = fitted(x, config)
    assert outcome.remedy is not None
    assert not outcome.remedy.helped
    assert outcome.remedy.columns is not None
    assert "the first fit was kept. Try more fit.steps" in remedy_in_words(outcome.remedy)
    assert latent_activity(outcome.network, x).collapsed


def test_a_collapse_that_is_no_fault_is_left_alone() -> None:
    """As that of pictures is: nothing is looked for, and nothing is done."""
    outcome = fit_or_remedy(bound(0.9), SCHEMA, FitConfig(steps=80, hidden=16, members=1), remedied=False, seed=0)
    assert latent_activity(outcome.network, bound(0.9)).collapsed
    assert outcome.remedy is None


def test_a_fit_that_did_not_collapse_is_left_alone() -> None:
    """It is the same as without this module."""
    x = bound(0.9)
    config = FitConfig(steps=150, hidden=16, members=1)
    outcome = fitted(x, config)
    assert outcome.remedy is None
    assert outcome.history == fit(x, SCHEMA, config, seed=0)[1]


def test_free_bits_keep_dimensions_in_use() -> None:
    """A dimension that costs nothing up to its free bits is not given up."""
    x = bound(0.9)
    free, charged = (fit(x, SCHEMA, FitConfig(steps=80, hidden=16, free_bits=bits), seed=0)[0] for bits in (0.1, 0.0))
    assert min(latent_activity(free, x).active) > min(latent_activity(charged, x).active)


Floats = npt.NDArray[np.float64]
NUMBERS = tuple(Feature(i, "gaussian") for i in range(6))


@pytest.mark.parametrize("seed", range(10))
def test_independent_columns_show_no_dependence(seed: int) -> None:
    """Whatever their distributions, missing values included."""
    rng = np.random.default_rng(seed)
    x = np.column_stack([rng.normal(size=(400, 2)), rng.standard_cauchy((400, 2)), rng.integers(2, size=(400, 2))])
    x[rng.random(x.shape) < 0.1] = np.nan
    assert strongest_dependence(x.astype(np.float32), NUMBERS) is None


@pytest.mark.parametrize(
    "link", [lambda a: 0.5 * a, lambda a: -(a**2), lambda a: np.abs(a) > 1, lambda a: np.where(a > 1, np.nan, 0)]
)
def test_a_link_of_any_form_is_found(link: Callable[[Floats], Floats]) -> None:
    """Straight, curved, through a threshold, or in what is missing."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 6))
    x[:, 4] = link(x[:, 1]) + 0.3 * rng.normal(size=500)
    found = strongest_dependence(x.astype(np.float32), NUMBERS)
    assert found is not None
    assert found.columns == (1, 4)
    assert found.nats > 0.05


def test_levels_and_numbers_are_held_against_each_other() -> None:
    """A level that depends on a number is a link; two features of one column are not."""
    rng = np.random.default_rng(0)
    number = rng.normal(size=500)
    level = np.digitize(number, [-0.5, 0.5])
    x = np.column_stack([level, level, number]).astype(np.float32)
    same = (Feature(0, "level", 3), Feature(0, "level", 3), Feature(1, "gaussian"))
    found = strongest_dependence(x, same)
    assert found is not None
    assert found.columns == (0, 1)
    assert strongest_dependence(x[:, :2], same[:2]) is None


def test_mutual_information_is_that_of_the_table() -> None:
    """Two equal fair coins share log 2 nats, two independent ones none."""
    a: npt.NDArray[np.int64] = np.array([0, 0, 1, 1])
    shared, freedom = mutual_information(a, a)
    assert shared == pytest.approx(np.log(2))
    assert freedom == 1
    assert mutual_information(a, np.array([0, 1, 0, 1]))[0] == pytest.approx(0)
