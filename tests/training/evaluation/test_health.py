"""The symptoms of a fit: caused on purpose, each is present, and its advice names a setting."""

import re
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kilter.service.detector.calibration import Calibration
from kilter.service.detector.columns import NumericColumn
from kilter.service.detector.findings import Symptom
from kilter.service.detector.networks.base import Posterior
from kilter.service.detector.schema import Schema
from kilter.training.config import FitConfig
from kilter.training.evaluation.health import HealthMeasures, Surroundings, find_symptoms, holes, overlap, roughness
from kilter.training.fitting.diagnosis import FitOutcome, Tolerance, diagnose, fit_or_remedy, measure_activity
from kilter.training.fitting.fit import fit
from kilter.training.modality import TableTraining, sharpness

SCHEMA = Schema(tuple(NumericColumn(f"n{i}", 0, 1, -3, 3) for i in range(4)), rows=600)
FIT = FitConfig(steps=250, hidden=16, members=1)
SETTING = re.compile(r"fit\.\w+|the model")
Rows = npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def x() -> Rows:
    """600 rows of four columns of which each two have a correlation of 0.9."""
    rng = np.random.default_rng(0)
    common, own = rng.normal(size=(600, 1)), rng.normal(size=(600, 4))
    rows: Rows = (np.sqrt(0.9) * common + np.sqrt(0.1) * own).astype(np.float32)
    return rows


def symptoms_of(outcome: FitOutcome, x: Rows, config: FitConfig) -> dict[str, Symptom]:
    """By name; the score is the negative ELBO."""
    network = outcome.network

    def score(rows: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        with torch.no_grad():
            view = network.see(torch.from_numpy(rows))
        elbo: npt.NDArray[np.float64] = (view.reconstruction + view.kl).double().numpy()
        return elbo

    measures = TableTraining.measures
    diagnosis = diagnose(network, outcome.history, config, x[:400], x[400:], outcome.remedy, measures.tolerance)
    around = Surroundings(score, Calibration.of(score(x[400:]), 0.05, 6), config, measures)
    return {symptom.name: symptom for symptom in find_symptoms(network, diagnosis, x[400:], around)}


def test_a_collapse_is_caused_detected_and_remedied(x: Rows) -> None:
    """By a KL term 100 times as heavy: no unit is active and KL is next to 0, until free bits bring both back."""
    config = msgspec.structs.replace(FIT, steps=300, hidden=8, beta=100.0)
    collapsed = FitOutcome(*fit(x, SCHEMA, config, seed=0), None)
    used = measure_activity(collapsed.network, x)
    assert used.active == (0,)
    assert sum(used.kl) < 0.05
    symptoms = symptoms_of(collapsed, x, config)
    for name in ("posterior collapse", "unused latent space", "blurry"):
        assert symptoms[name].present
    assert "fit.free_bits" in symptoms["posterior collapse"].advice
    assert "fit.beta below 100" in symptoms["posterior collapse"].advice

    remedied = fit_or_remedy(x, SCHEMA, config, seed=0)
    assert remedied.remedy is not None
    assert remedied.remedy.helped
    used = measure_activity(remedied.network, x)
    assert used.active[0] >= 1
    assert sum(used.kl) > 0.05
    symptoms = symptoms_of(remedied, x, config)
    assert not symptoms["posterior collapse"].present
    assert not symptoms["unused latent space"].present


def test_a_good_fit_has_no_symptom(x: Rows) -> None:
    """Each has a figure all the same, and each advice names a setting."""
    config = msgspec.structs.replace(FIT, steps=500)
    symptoms = symptoms_of(fit_or_remedy(x, SCHEMA, config, seed=0), x, config)
    assert [symptom.name for symptom in symptoms.values() if symptom.present] == []
    assert len(symptoms) == 9
    for symptom in symptoms.values():
        assert np.isfinite(symptom.value)
        assert SETTING.search(symptom.advice) or "Draw near records" in symptom.advice


def test_rows_that_are_learned_by_heart_are_overfitting(x: Rows) -> None:
    """By thousands of steps on sixteen rows."""
    config = FitConfig(steps=200, hidden=32, members=1, patience=1000, weight_decay=0.0, learning_rate=0.01)
    few = x[:16]
    outcome = FitOutcome(*fit(few, SCHEMA, config, seed=0), None)
    measures = TableTraining.measures
    diagnosis = diagnose(outcome.network, outcome.history, config, few, x[400:], None, measures.tolerance)
    around = Surroundings(
        lambda rows: rows[:, 0].astype(np.float64), Calibration.of(np.arange(99.0), 0.05, 6), config, measures
    )
    symptoms = {one.name: one for one in find_symptoms(outcome.network, diagnosis, x[400:], around)}
    assert symptoms["overfitting"].present
    assert "fit.weight_decay" in symptoms["overfitting"].advice


def test_codes_without_a_prior_have_no_kl_and_cannot_overlap(x: Rows) -> None:
    """What is left are symptoms of the decoder, and of the Gaussian of the codes."""
    config = msgspec.structs.replace(FIT, model="ae")
    names = symptoms_of(fit_or_remedy(x, SCHEMA, config, seed=0), x, config).keys()
    assert not {"posterior collapse", "unused latent space", "overlapping codes"} & names
    assert {"blurry", "fragmented codes", "jagged ways"} <= names


@given(st.integers(2, 6), st.integers(0, 99))
def test_a_straight_way_in_even_steps_is_not_rough(axes: int, seed: int) -> None:
    """One that leaps at once is as rough as it has steps; scale and place make no difference."""
    rng = np.random.default_rng(seed)
    start, end = torch.from_numpy(rng.normal(size=(2, 5, axes)))
    even = torch.stack([start.lerp(end, t / 10) for t in range(11)])
    leap = torch.stack([start if t < 4 else end for t in range(11)])
    assert roughness(even) == pytest.approx(1)
    assert roughness(leap) == pytest.approx(10)
    assert roughness(7 * leap + 3) == pytest.approx(10)
    assert roughness(torch.zeros(11, 5, axes)) == 1


def test_posteriors_that_are_apart_do_not_overlap() -> None:
    """Those that are the same do so wherever a draw falls."""
    generator = torch.Generator().manual_seed(0)
    apart = torch.arange(50.0).reshape(1, 50, 1) * 100
    near = torch.randn(1, 50, 1, generator=generator) / 100
    assert overlap(Posterior(apart, torch.zeros(1, 50, 1)), generator) == 0
    assert overlap(Posterior(near, torch.zeros(1, 50, 1)), generator) == pytest.approx(0.5, abs=0.05)
    same = torch.zeros(2, 50, 3)
    assert overlap(Posterior(same, same), generator) == 0.5


def test_holes_are_places_where_no_code_is() -> None:
    """Draws like the codes lie in none; draws around another place all do."""
    codes, alike = torch.randn(2, 300, 3, generator=torch.Generator().manual_seed(0))
    assert holes(codes, alike) < 0.1
    assert holes(codes, alike + 100) == 1


def test_a_blurred_picture_is_less_sharp() -> None:
    """And one without contrast is not sharp at all."""

    class Shape:
        small = (8, 8)

    class Seen:
        shape = Shape

    noise = torch.randn(10, 64, generator=torch.Generator().manual_seed(0))
    pictures = noise.reshape(10, 1, 8, 8)
    blurred = torch.nn.functional.avg_pool2d(pictures, 3, 1, 1).flatten(1)
    assert sharpness(Seen, blurred) < 0.3 * sharpness(Seen, noise)
    assert sharpness(Seen, torch.ones(10, 64)) < 1e-9


def test_measures_differ_between_kinds_of_records() -> None:
    """A picture's pixels are worth more nats than a table's columns."""
    assert TableTraining.measures == HealthMeasures(Tolerance(0.1, 0.02), 200, True, *TableTraining.measures[3:])
