"""Tests of `kilter.AnomalyDetector`: scikit-learn's own, and what the estimator adds to these."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_checks

import kilter
from tests.support.data import records

BRIEF = {"fit": {"steps": 10, "members": 1}, "baselines": False}
FEW = "it fits on fewer than 30 rows, with which no threshold can be calibrated"
PICKLE = "a model is saved, and not pickled"
NOT_PASSED = {
    "check_estimators_overwrite_params": FEW,
    "check_dont_overwrite_parameters": FEW,
    "check_estimators_fit_returns_self": FEW,
    "check_readonly_memmap_input": FEW,
    "check_n_features_in_after_fitting": FEW,
    "check_estimators_dtypes": FEW,
    "check_f_contiguous_array_estimator": FEW,
    "check_classifier_data_not_an_array": FEW,
    "check_methods_sample_order_invariance": FEW,
    "check_methods_subset_invariance": FEW,
    "check_fit2d_1feature": FEW,
    "check_dict_unchanged": FEW,
    "check_fit2d_predict1d": FEW,
    "check_estimators_pickle": PICKLE,
}


def failures(estimator: kilter.AnomalyDetector) -> set[str]:
    """Names of scikit-learn's checks that the estimator does not pass."""
    with pytest.warns():  # of checks that are skipped
        results = estimator_checks.check_estimator(estimator, on_fail=None)
    assert len(results) > 40
    return {result["check_name"] for result in results if result["status"] == "failed"}


@pytest.mark.e2e
@pytest.mark.timeout(900)  # it trains many models
def test_the_conventions_of_scikit_learn() -> None:
    """All of its checks pass but those that are listed with their reasons."""
    estimator = kilter.AnomalyDetector(target_fpr=0.1, config=BRIEF, random_state=0)
    assert failures(estimator) == NOT_PASSED.keys()


@pytest.mark.e2e  # for its length alone
@pytest.mark.timeout(900)
def test_the_checks_on_few_rows_fail_for_their_number_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """They pass where so few rows may be fitted."""
    monkeypatch.setattr("kilter.training.fitting.split.SMALLEST_TABLE", 10)
    estimator = kilter.AnomalyDetector(target_fpr=0.3, config=BRIEF, random_state=0)
    for name in (name for name, reason in NOT_PASSED.items() if reason == FEW):
        getattr(estimator_checks, name)("AnomalyDetector", clone(estimator))


@pytest.fixture(scope="module")
def normal() -> pd.DataFrame:
    """Rows with columns of every kind."""
    return pd.DataFrame(records(np.random.default_rng(0), 200))


@pytest.fixture(scope="module")
def fitted(normal: pd.DataFrame) -> kilter.AnomalyDetector:
    """An estimator that was fitted to a frame of pandas."""
    return kilter.AnomalyDetector(target_fpr=0.1, config=BRIEF, random_state=0).fit(normal)


@pytest.mark.parametrize("form", [lambda rows: rows, lambda rows: pl.DataFrame(rows.to_dict("list"))])
def test_frames_have_columns_of_every_kind(form: Any, normal: pd.DataFrame, fitted: kilter.AnomalyDetector) -> None:
    """Of pandas and of polars, with the verdicts of the detector inside."""
    rows = normal.copy()
    rows.loc[5, "temperature"] = 400.0
    verdicts = fitted.detector_.score(rows)
    np.testing.assert_array_equal(fitted.predict(form(rows)), np.where(verdicts.anomaly, -1, 1))
    np.testing.assert_array_equal(fitted.score_samples(form(rows)), -np.round(verdicts.score, 4))
    np.testing.assert_array_equal(fitted.decision_function(form(rows)) < 0, verdicts.anomaly)
    assert fitted.predict(form(rows))[5] == -1


def test_groups_have_thresholds_of_their_own(normal: pd.DataFrame) -> None:
    """By which the decision is made, and not by the common one."""
    estimator = kilter.AnomalyDetector(target_fpr=0.2, group_by="product", config=BRIEF, random_state=0).fit(normal)
    verdicts = estimator.detector_.score(normal)
    assert verdicts.threshold is not None
    assert len(set(verdicts.threshold)) > 1
    np.testing.assert_array_equal(estimator.decision_function(normal) < 0, verdicts.anomaly)


@pytest.mark.e2e
def test_it_works_in_a_pipeline_and_a_search() -> None:
    """Cloned, with its parameters set from outside."""
    x = np.random.default_rng(0).normal(size=(150, 3))
    pipeline = make_pipeline(StandardScaler(), kilter.AnomalyDetector(target_fpr=0.1, config=BRIEF, random_state=0))
    assert set(pipeline.fit(x).predict(x)) <= {-1, 1}
    assert pipeline[-1].get_params()["target_fpr"] == 0.1
    assert clone(pipeline[-1]).get_params() == pipeline[-1].get_params()
    search = GridSearchCV(
        kilter.AnomalyDetector(config=BRIEF, random_state=0),
        {"target_fpr": [0.1, 0.2]},
        scoring=lambda estimator, rows, _=None: estimator.score_samples(rows).mean(),
        cv=2,
    )
    assert search.fit(x).best_params_["target_fpr"] in (0.1, 0.2)


def test_a_model_is_saved_and_not_pickled(fitted: kilter.AnomalyDetector, normal: pd.DataFrame, tmp_path: Path) -> None:
    """As the next version in a folder, which `load` reads."""
    with pytest.raises(TypeError, match=r"`save` writes it to a folder, from which `kilter.load` reads it"):
        pickle.dumps(fitted)
    assert [fitted.save(tmp_path, "plant").name for _ in range(2)] == ["1", "2"]
    loaded = kilter.load(tmp_path / "plant")
    assert (loaded.name, loaded.version) == ("plant", 2)
    np.testing.assert_array_equal(-np.round(loaded.score(normal).score, 4), fitted.score_samples(normal))


def test_names_of_columns_need_not_be_texts() -> None:
    """A frame of pandas that was made of a matrix numbers them."""
    x = pd.DataFrame(np.random.default_rng(0).normal(size=(60, 2)))
    estimator = kilter.AnomalyDetector(target_fpr=0.2, config=BRIEF, random_state=0).fit(x)
    assert estimator.predict(x).shape == (60,)


def test_wrong_settings_and_records_are_value_errors(fitted: kilter.AnomalyDetector, normal: pd.DataFrame) -> None:
    """With Kilter's own message: scikit-learn's callers expect no errors of ours."""
    with pytest.raises(ValueError, match=r"target_fpr must be from 1e-05 to 0.5, not 0.9"):
        kilter.AnomalyDetector(target_fpr=0.9).fit(normal)
    with pytest.raises(ValueError, match=r"record 2, field 'temperature': a number .*'warm'"):
        fitted.predict(normal.assign(temperature=[*normal["temperature"][:2], "warm", *normal["temperature"][3:]]))
    with pytest.raises(ValueError, match=r"field 'line': the column is missing|feature names"):
        fitted.predict(normal.drop(columns="line"))
