"""What the figures of a fit say about its health; a collapse is remedied, left alone where right, or owned up to."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
import torch
from sklearn.datasets import load_digits

from kilter.service.detector.columns import CategoricalColumn, NumericColumn
from kilter.service.detector.columns.time_of_day import ClockColumn
from kilter.service.detector.findings import Diagnosis, Epoch, Remedy
from kilter.service.detector.networks.tabular import TabularVAE
from kilter.service.detector.pictures.column import ImageColumn
from kilter.service.detector.schema import Schema
from kilter.training.config import FitConfig
from kilter.training.fitting.diagnosis import (
    FitOutcome,
    Tolerance,
    diagnose,
    find_dependence,
    fit_or_remedy,
    measure_activity,
    mutual_information,
    remedy_in_words,
)
from kilter.training.fitting.fit import fit

SCHEMA = Schema(tuple(NumericColumn(f"n{i}", 0, 1, -3, 3) for i in range(3)), rows=200)
X = np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32)
TABLES = Tolerance(gap=0.1, rise=0.02)


@pytest.fixture
def network() -> TabularVAE:
    """A network of two members that was not fitted."""
    torch.manual_seed(0)
    return TabularVAE.untrained(SCHEMA, FitConfig(hidden=8, latent=4)).eval()


def silenced(network: TabularVAE, *members: int) -> TabularVAE:
    """The network with the posterior of some members made equal to the prior."""
    with torch.no_grad():
        for tensor in (network.encoder.weights[-1], network.encoder.biases[-1]):
            tensor[list(members)] = 0
    return network


def found(network: TabularVAE, elbos: list[float], new: npt.NDArray[np.float32] = X) -> Diagnosis:
    """The diagnosis of a fit of as many steps as were allowed, ten to each of its held-out ELBOs."""
    history = [Epoch(10 * i, 1.0, 1.0, 0.0, elbo) for i, elbo in enumerate(elbos, 1)]
    return diagnose(network, history, FitConfig(steps=10 * len(elbos)), X, new, None, TABLES)


def test_active_units_are_counted_for_each_member(network: TabularVAE) -> None:
    """A member whose posterior is the prior has none, and counts as collapsed."""
    before = measure_activity(network, X)
    assert min(before.active) > 0
    after = measure_activity(silenced(network, 1), X)
    assert after.active == (before.active[0], 0)
    assert after.collapsed


def test_kl_of_the_dimensions_adds_up_to_the_whole(network: TabularVAE) -> None:
    """In nats, the largest first; that of a posterior equal to the prior is 0."""
    kl = measure_activity(network, X).kl
    with torch.no_grad():
        whole = network.see(torch.from_numpy(X)).kl.mean()
    assert sum(kl) == pytest.approx(float(whole), rel=1e-4)
    assert list(kl) == sorted(kl, reverse=True)
    assert sum(measure_activity(silenced(network, 0, 1), X).kl) == pytest.approx(0, abs=1e-6)


def test_a_healthy_fit_needs_no_attention(network: TabularVAE) -> None:
    """The ELBO levelled off before the end, and new rows are described as well as others."""
    healthy = found(network, [-9, -5, -4, -3.5, -3.3, -3.3, -3.3, -3.3, -3.3, -3.31])
    assert healthy.notes == ()
    assert not healthy.overfitted
    assert not healthy.underfitted


def test_rows_that_are_described_worse_than_fitted_ones_show_overfitting(network: TabularVAE) -> None:
    """The note has both ELBOs, says when the fit was at its best, and what to do."""
    made = found(network, [-4, -3, *(-3.5 for _ in range(8))], new=3 * X)
    assert made.overfitted
    (note,) = made.notes
    assert "best at step 20 of 100" in note
    assert f"{made.elbo_fit:.2f} nats" in note
    assert "More rows" in note


def test_a_held_out_elbo_that_still_rises_at_the_end_shows_underfitting(network: TabularVAE) -> None:
    """The note names the setting and a better value."""
    made = found(network, [-10.0 + i for i in range(10)])
    assert made.underfitted
    assert "Set fit.steps to 200 or more." in made.notes[0]


def test_a_fit_that_was_stopped_early_is_not_unfinished(network: TabularVAE) -> None:
    """However much it rose, it had steps left."""
    history = [Epoch(10 * i, 1.0, 1.0, 0.0, -10.0 + i) for i in range(1, 11)]
    assert not diagnose(network, history, FitConfig(steps=1000), X, X, None, TABLES).underfitted


def test_a_diagnosis_is_plain_data(network: TabularVAE) -> None:
    """It goes into the manifest as JSON and comes back."""
    made = found(network, [-3.0, -2.0])
    assert msgspec.convert(json.loads(msgspec.json.encode(made)), Diagnosis) == made


FOUR = Schema(tuple(NumericColumn(f"n{i}", 0, 1, -3, 3) for i in range(4)), rows=600)
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
    return fit_or_remedy(x, FOUR, config, seed=0, checkpoint=checkpoint)


def test_a_collapse_on_columns_that_belong_together_is_remedied(tmp_path: Path) -> None:
    """The second fit has units in use and a better ELBO on rows it did not see, and no checkpoint stays behind."""
    x = bound(0.9)
    network, history, remedy = fitted(x, HEAVY, tmp_path / ".fit.safetensors")
    assert remedy is not None
    assert remedy.helped
    assert not measure_activity(network, x).collapsed
    assert "fitted again with free bits" in remedy_in_words(remedy)
    assert history[-1].step == 200
    assert list(tmp_path.iterdir()) == []


def test_independent_columns_may_leave_the_latent_space_empty() -> None:
    """There is nothing to learn, so nothing is done: the fit is the first one, and no fault is found."""
    x = bound(0.0)
    config = FitConfig(steps=60, hidden=16, weight_decay=1.0)
    outcome = fitted(x, config)
    assert measure_activity(outcome.network, x).collapsed
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
    assert measure_activity(outcome.network, x).collapsed


PICTURES = Schema((ImageColumn("image", 8, 8, 1),), rows=600)


def test_a_collapse_on_pictures_is_remedied() -> None:
    """By a KL term a thousand times as heavy: the latent space is empty, until a second fit fills it."""
    x = (load_digits().data[:600] / 16).astype(np.float32)
    config = FitConfig(steps=300, hidden=8, latent=4, members=1, learning_rate=0.01, beta=1000.0)
    assert measure_activity(fit(x, PICTURES, config, seed=0)[0], x).collapsed
    network, _, remedy = fit_or_remedy(x, PICTURES, config, seed=0)
    assert remedy is not None
    assert remedy.helped
    assert not measure_activity(network, x).collapsed
    assert re.search(r"although 'pixel \(\d, \d\)' and 'pixel \(\d, \d\)' tell", remedy_in_words(remedy))


def test_pictures_of_noise_may_leave_the_latent_space_empty() -> None:
    """No pixel tells anything about another."""
    x = np.random.default_rng(0).random((600, 64)).astype(np.float32)
    assert find_dependence(x, PICTURES) is None


def test_a_fit_that_did_not_collapse_is_left_alone() -> None:
    """It is the same as without this module."""
    x = bound(0.9)
    config = FitConfig(steps=150, hidden=16, members=1)
    outcome = fitted(x, config)
    assert outcome.remedy is None
    assert outcome.history == fit(x, FOUR, config, seed=0)[1]


def test_free_bits_keep_dimensions_in_use() -> None:
    """A dimension that costs nothing up to its free bits is not given up."""
    x = bound(0.9)
    free, charged = (fit(x, FOUR, FitConfig(steps=80, hidden=16, free_bits=bits), seed=0)[0] for bits in (0.1, 0.0))
    assert min(measure_activity(free, x).active) > min(measure_activity(charged, x).active)


Floats = npt.NDArray[np.float64]
NUMBERS = Schema(tuple(NumericColumn(f"n{i}", 0, 1, -3, 3) for i in range(6)), rows=500)


@pytest.mark.parametrize("seed", range(10))
def test_independent_columns_show_no_dependence(seed: int) -> None:
    """Whatever their distributions, missing values included."""
    rng = np.random.default_rng(seed)
    x = np.column_stack([rng.normal(size=(400, 2)), rng.standard_cauchy((400, 2)), rng.integers(2, size=(400, 2))])
    x[rng.random(x.shape) < 0.1] = np.nan
    assert find_dependence(x.astype(np.float32), NUMBERS) is None


@pytest.mark.parametrize(
    "link", [lambda a: 0.5 * a, lambda a: -(a**2), lambda a: np.abs(a) > 1, lambda a: np.where(a > 1, np.nan, 0)]
)
def test_a_link_of_any_form_is_found(link: Callable[[Floats], Floats]) -> None:
    """Straight, curved, through a threshold, or in what is missing."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 6))
    x[:, 4] = link(x[:, 1]) + 0.3 * rng.normal(size=500)
    found = find_dependence(x.astype(np.float32), NUMBERS)
    assert found is not None
    assert found.columns == ("n1", "n4")
    assert found.nats > 0.05


def test_levels_and_numbers_are_held_against_each_other() -> None:
    """A level that depends on a number is a link; two features of one column are not."""
    rng = np.random.default_rng(0)
    number = rng.normal(size=500)
    level = np.digitize(number, [-0.5, 0.5])
    columns = CategoricalColumn("level", ("a", "b", "c"), (200, 150, 150)), NumericColumn("number", 0, 1, -3, 3)
    found = find_dependence(np.column_stack([level, number]).astype(np.float32), Schema(columns, rows=500))
    assert found is not None
    assert found.columns == ("level", "number")
    angle = rng.uniform(0, 2 * np.pi, 500)
    clock = np.column_stack([np.sin(angle), np.cos(angle)]).astype(np.float32)
    assert find_dependence(clock, Schema((ClockColumn("clock"),), rows=500)) is None


def test_mutual_information_is_that_of_the_table() -> None:
    """Two equal fair coins share log 2 nats, two independent ones none."""
    a: npt.NDArray[np.int64] = np.array([0, 0, 1, 1])
    shared, freedom = mutual_information(a, a)
    assert shared == pytest.approx(np.log(2))
    assert freedom == 1
    assert mutual_information(a, np.array([0, 1, 0, 1]))[0] == pytest.approx(0)
