"""Tests of `remedy`: a collapse is remedied, left alone where it is right, or owned up to."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from kilter.service.detector.columns import NumericColumn
from kilter.service.detector.schema import Schema
from kilter.training.activity import activity
from kilter.training.config import FitConfig
from kilter.training.fit import fit
from kilter.training.remedy import Remedy, fit_or_remedy

SCHEMA = Schema(tuple(NumericColumn(f"n{i}", 0, 1, -3, 3) for i in range(4)), rows=600)
HEAVY = FitConfig(steps=200, hidden=16, members=1, weight_decay=1.0, warm_up=0.0)
"""Under so much decay, and a KL term at full weight from the first step, the posterior collapses."""


def bound(strength: float) -> npt.NDArray[np.float32]:
    """600 rows of four columns with a correlation of `strength` between each two."""
    rng = np.random.default_rng(0)
    common, own = rng.normal(size=(600, 1)), rng.normal(size=(600, 4))
    x: npt.NDArray[np.float32] = (np.sqrt(strength) * common + np.sqrt(1 - strength) * own).astype(np.float32)
    return x


def test_a_collapse_on_columns_that_belong_together_is_remedied(tmp_path: Path) -> None:
    """The second fit has units in use and a better ELBO on rows it did not see, and no checkpoint stays behind."""
    x = bound(0.9)
    network, history, remedy = fit_or_remedy(x, SCHEMA, HEAVY, seed=0, checkpoint=tmp_path / ".fit.safetensors")
    assert remedy is not None
    assert remedy.helped
    assert not activity(network, x).collapsed
    assert "fitted again with free bits" in remedy.sentence
    assert history[-1].step == 200
    assert list(tmp_path.iterdir()) == []


def test_independent_columns_may_leave_the_latent_space_empty() -> None:
    """There is nothing to learn, so nothing is done: the fit is the first one, and no fault is found."""
    x = bound(0.0)
    config = FitConfig(steps=60, hidden=16, weight_decay=1.0)
    outcome = fit_or_remedy(x, SCHEMA, config, seed=0)
    assert activity(outcome.network, x).collapsed
    assert outcome.remedy == Remedy(None)
    assert outcome.remedy.needless
    assert "rightly so" in outcome.remedy.sentence


def test_a_remedy_that_does_not_help_is_not_kept() -> None:
    """With far too few steps nothing helps: the first fit stays, and the sentence says so and what to try."""
    x = bound(0.9)
    config = FitConfig(steps=80, hidden=16, members=1)
    outcome = fit_or_remedy(x, SCHEMA, config, seed=0)
    assert outcome.remedy is not None
    assert not outcome.remedy.helped
    assert not outcome.remedy.needless
    assert "the first fit was kept. Try more fit.steps" in outcome.remedy.sentence
    assert activity(outcome.network, x).collapsed


def test_a_fit_that_did_not_collapse_is_left_alone() -> None:
    """It is the same as without this module."""
    x = bound(0.9)
    config = FitConfig(steps=150, hidden=16, members=1)
    outcome = fit_or_remedy(x, SCHEMA, config, seed=0)
    assert outcome.remedy is None
    assert outcome.history == fit(x, SCHEMA, config, seed=0)[1]


def test_free_bits_keep_dimensions_in_use() -> None:
    """A dimension that costs nothing up to its free bits is not given up."""
    x = bound(0.9)
    free, charged = (fit(x, SCHEMA, FitConfig(steps=80, hidden=16, free_bits=bits), seed=0)[0] for bits in (0.1, 0.0))
    assert min(activity(free, x).active) > min(activity(charged, x).active)
