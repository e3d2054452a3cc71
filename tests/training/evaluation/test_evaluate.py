import json

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics

from kilter.service.detector.errors import Problem
from kilter.service.detector.findings import Evaluation
from kilter.service.detector.inputs import Table
from kilter.training.evaluation.evaluate import Ranking, bootstrap, evaluate_rows, f1_of, precision_of, proportion
from tests.support import detectors


def mixed(normal: int, anomalies: int) -> tuple[Table, np.ndarray[tuple[int], np.dtype[np.bool_]]]:
    """Rows with normal ones first, and their labels."""
    table = detectors.joined(detectors.rows(normal, 1), detectors.rows(anomalies, 2, shift=2.0))
    return table, np.arange(table.rows) >= normal


def test_figures_are_those_of_scikit_learn() -> None:
    """Every figure that scikit-learn has is the same, to the last digits."""
    detector = detectors.detector()
    table, anomalous = mixed(500, 80)
    found = evaluate_rows(detector, table, anomalous, seed=0).labelled
    verdicts = detector.score(table)
    assert found is not None
    assert found.roc_auc.value == pytest.approx(metrics.roc_auc_score(anomalous, verdicts.score))
    assert found.average_precision.value == pytest.approx(metrics.average_precision_score(anomalous, verdicts.score))
    assert found.precision.value == pytest.approx(metrics.precision_score(anomalous, verdicts.anomaly))
    assert found.recall.value == pytest.approx(metrics.recall_score(anomalous, verdicts.anomaly))
    assert found.f1.value == pytest.approx(metrics.f1_score(anomalous, verdicts.anomaly))
    (tn, fp), (fn, tp) = metrics.confusion_matrix(anomalous, verdicts.anomaly)
    assert (found.counts.tp, found.counts.fp, found.counts.tn, found.counts.fn) == (tp, fp, tn, fn)
    precision, recall, _ = metrics.precision_recall_curve(anomalous, verdicts.score)
    best = np.max(2 * precision * recall / np.maximum(precision + recall, 1e-300))
    assert found.best_f1 == pytest.approx(best)


def test_every_figure_lies_in_its_interval_and_a_seed_fixes_it() -> None:
    """The bootstrap is centred on the data and repeatable."""
    detector = detectors.detector()
    table, anomalous = mixed(300, 60)
    found = evaluate_rows(detector, table, anomalous, seed=7)
    assert found == evaluate_rows(detector, table, anomalous, seed=7)
    assert found != evaluate_rows(detector, table, anomalous, seed=8)
    figures = [(one.low, one.value, one.high) for one in found.figures().values() if one.low is not None]
    assert len(figures) == 9
    assert all(low <= value <= high for low, value, high in figures)  # type: ignore[operator]


def test_without_labels_all_rows_count_as_normal() -> None:
    """The evaluation is then the false-positive rate and the ELBO, held against the promise."""
    detector = detectors.detector(0.05, 199)
    table = detectors.rows(1_000, 1)
    found = evaluate_rows(detector, table, None, seed=0)
    reconstruction, kl = detector.elbo_terms(table)
    assert found.labelled is None
    assert found.normal == found.rows == 1_000
    assert found.flagged == detector.score(table).anomaly.sum()
    assert found.false_positive_rate.value == found.flagged / 1_000
    assert (found.target_fpr, found.promised_fpr) == (0.05, 0.05)
    assert found.within_promise
    assert found.elbo.value == pytest.approx(-(reconstruction + kl).mean())
    assert found.reconstruction.value == pytest.approx(reconstruction.mean())
    assert found.kl.value == pytest.approx(0.5)
    assert [*found.figures()] == ["false-positive rate", "ELBO, nats", "reconstruction, nats", "KL, nats"]


def test_rows_that_drifted_break_the_promise() -> None:
    """Many more flags than the beta-binomial interval allows are told."""
    found = evaluate_rows(detectors.detector(), detectors.rows(500, 1, shift=1.0), None, seed=0)
    assert found.flagged > found.expected_flags[1]
    assert found.within_promise is False


def test_the_promise_is_kept_on_exchangeable_rows_as_often_as_it_says() -> None:
    """Over many calibration sets at least 95 % of the counts lie in the interval."""
    rng = np.random.default_rng(0)
    kept = 0
    for round_ in range(200):
        detector = detectors.calibrated(rng.chisquare(3, 99), 0.05)
        table = detectors.rows(200, round_)
        table.columns["amount"][:] = np.sqrt(rng.chisquare(3, 200))
        table.columns["age"][:] = 0.0
        table.columns["colour"][:] = "red"
        kept += evaluate_rows(detector, table, None, seed=0).within_promise is True
    assert kept >= 0.95 * 200 - 3 * np.sqrt(200 * 0.95 * 0.05)


@pytest.mark.parametrize("total", [1, 7, 60])
def test_the_interval_of_a_proportion_holds_the_truth_often_enough(total: int) -> None:
    """At every true rate, the counts whose interval holds it have together a probability of at least 95 %."""
    figures = [proportion(count, total) for count in range(total + 1)]
    for rate in np.linspace(0.01, 0.99, 23):
        chance = stats.binom.pmf(np.arange(total + 1), total, rate)
        holds = [figure.low is not None and figure.high is not None and figure.low <= rate <= figure.high
                 for figure in figures]  # fmt: skip
        assert chance[holds].sum() >= 0.95


def test_rows_with_problems_are_counted_and_left_out() -> None:
    """They are in no figure."""
    detector = detectors.detector()
    table, anomalous = mixed(200, 40)
    bad = table._replace(problems=[Problem(0, "amount", "not a number"), Problem(239, "age", "not a number")])
    found = evaluate_rows(detector, bad, anomalous, seed=0)
    inner = Table({name: values[1:-1] for name, values in table.columns.items()}, 238, [])
    assert found == msgspec.structs.replace(evaluate_rows(detector, inner, anomalous[1:-1], seed=0), problems=2)


def none_of(found: Evaluation, *metrics_: str) -> bool:
    return all(found.figures()[metric].value is None for metric in metrics_)


RANKING = ("ROC AUC", "average precision", "precision", "F1", "best F1 of any threshold")


def test_without_anomalies_the_labelled_figures_are_unknown() -> None:
    """One sentence says why, and the false-positive rate is still there."""
    found = evaluate_rows(detectors.detector(), detectors.rows(100, 1), np.zeros(100, bool), seed=0)
    assert none_of(found, *RANKING, "recall")
    assert found.false_positive_rate.value is not None
    assert found.notes == ("No row is labelled as an anomaly, so nothing can be said about how many would be found.",)


def test_without_normal_rows_only_recall_is_known() -> None:
    """There is nothing to rank against, and no false-positive rate."""
    found = evaluate_rows(detectors.detector(), detectors.rows(100, 1, shift=3.0), np.ones(100, bool), seed=0)
    assert none_of(found, *RANKING, "false-positive rate", "ELBO, nats")
    assert found.labelled is not None
    assert found.labelled.recall.value == found.labelled.counts.tp / 100
    assert found.within_promise is None
    assert len(found.notes) == 2


def test_without_flags_precision_is_unknown() -> None:
    """Recall and F1 are 0 and the ranking stands."""
    table, anomalous = mixed(50, 10)
    found = evaluate_rows(detectors.calibrated(np.full(199, 1e9), 0.05), table, anomalous, seed=0)
    assert none_of(found, "precision")
    assert found.labelled is not None
    assert found.labelled.recall.value == found.labelled.f1.value == 0
    assert found.labelled.roc_auc.value is not None
    assert "No row was flagged, so precision is not defined." in found.notes


@pytest.mark.parametrize("labels", [None, np.zeros(0, bool)])
def test_without_rows_nothing_is_known_and_nothing_breaks(labels: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> None:
    """Zero rows are an answer, not an error."""
    found = evaluate_rows(detectors.detector(), detectors.rows(0, 1), labels, seed=0)
    assert all(figure.value is None for figure in found.figures().values())
    assert found.within_promise is None
    assert found.notes


def test_rows_that_set_the_threshold_do_not_check_the_promise() -> None:
    """The false-positive rate on them is what it was set to, and is not shown as if it were found."""
    table, anomalous = mixed(100, 20)
    found = evaluate_rows(detectors.detector(), table, anomalous, seed=0, fresh=False)
    assert none_of(found, "false-positive rate")
    assert found.within_promise is None
    assert not none_of(found, "ROC AUC")


def test_an_evaluation_goes_through_json() -> None:
    """It stands in the manifest as it is."""
    table, anomalous = mixed(100, 20)
    found = evaluate_rows(detectors.detector(), table, anomalous, seed=0)
    text = json.dumps(msgspec.to_builtins(found))
    assert msgspec.json.decode(text, type=Evaluation) == found


@given(st.lists(st.tuples(st.integers(0, 8), st.booleans()), min_size=2, max_size=40), st.floats(1, 300))
def test_a_ranking_agrees_with_scikit_learn(rows: list[tuple[int, bool]], weight: float) -> None:
    """Areas are right under any pattern of ties, whatever a normal row counts."""
    scores = np.array([score for score, _ in rows], np.float64)
    anomalous = np.array([label for _, label in rows])
    if anomalous.all() or not anomalous.any():
        return
    found, weights = Ranking.of(scores, anomalous, weight), np.where(anomalous, 1.0, weight)
    assert found.roc_auc() == pytest.approx(metrics.roc_auc_score(anomalous, scores, sample_weight=weights))
    average = metrics.average_precision_score(anomalous, scores, sample_weight=weights)
    assert found.average_precision() == pytest.approx(average)


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    """Of 60 simulated tables, the 95 % interval of the ROC AUC holds the true one in at least 85 %."""
    rng = np.random.default_rng(0)
    truth = 0.8413447  # two unit Gaussians, sqrt(2) apart: the standard normal distribution function at 1
    held = 0
    for _ in range(60):
        scores = np.concatenate([rng.normal(0, 1, 150), rng.normal(np.sqrt(2), 1, 60)])
        low, high = bootstrap(scores, np.arange(210) >= 150, seed=1)["roc_auc"]
        held += low <= truth <= high
    assert held >= 51


def test_figures_at_a_weight_are_those_of_scikit_learn() -> None:
    """A normal row that stands for twelve counts twelve times in whatever depends on how common anomalies are."""
    detector = detectors.detector()
    table, anomalous = mixed(500, 30)
    found = evaluate_rows(detector, table, anomalous, seed=0, weight=12.0).labelled
    verdicts, weights = detector.score(table), np.where(anomalous, 1.0, 12.0)
    assert found is not None
    assert found.anomaly_rate == pytest.approx(30 / (30 + 12 * 500))
    for name, figure in (("precision", found.precision), ("f1", found.f1), ("recall", found.recall)):
        wanted = getattr(metrics, f"{name}_score")(anomalous, verdicts.anomaly, sample_weight=weights)
        assert figure.value == pytest.approx(wanted)
    average = metrics.average_precision_score(anomalous, verdicts.score, sample_weight=weights)
    assert found.average_precision.value == pytest.approx(average)
    plain = evaluate_rows(detector, table, anomalous, seed=0).labelled
    assert plain is not None
    assert plain.counts == found.counts
    assert plain.recall == found.recall
    assert plain.roc_auc == found.roc_auc


def test_the_interval_of_the_precision_holds_that_of_the_source() -> None:
    """In at least 95 % of files of 4,000 rows, 0.5 % of them anomalies, where 200 normal rows are judged."""
    rng = np.random.default_rng(0)
    share, recall, fpr, rows, judged = 0.005, 0.7, 0.01, 4_000, 200
    truth = share * recall / (share * recall + (1 - share) * fpr)
    held = widths = 0.0
    for _ in range(400):
        anomalies = rng.binomial(rows, share)
        tp, fp = rng.binomial(anomalies, recall), rng.binomial(judged, fpr)
        figure = precision_of(tp, fp, (rows - anomalies) / judged)
        if figure.value is None or figure.low is None or figure.high is None:
            held += 1
            continue
        assert figure.low <= figure.value <= figure.high
        held += figure.low <= truth <= figure.high
        widths += figure.high - figure.low
    assert held >= 0.95 * 400 - 3 * np.sqrt(400 * 0.95 * 0.05)
    assert widths / 400 < 0.95


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 400), st.floats(1, 100))
def test_the_interval_of_f1_holds_its_value(tp: int, fn: int, fp: int, weight: float) -> None:
    """And is no point where a count happens to be none."""
    if not tp + fn:
        return
    figure = f1_of((tp, fn), (fp, 400 - fp), weight, seed=0)
    assert figure.value is not None
    assert figure.low is not None
    assert figure.high is not None
    assert 0 <= figure.low <= figure.value <= figure.high <= 1
    assert figure.low < figure.high


def test_a_cross_check_is_held_against_what_it_expects() -> None:
    """The flags are those that it gives, and the evaluation says in how many folds they were found."""
    detector = detectors.detector()
    table = detectors.rows(100, 1)
    verdicts = detector.score(table)._replace(anomaly=np.arange(100) < 9)
    found = evaluate_rows(detector, table, None, seed=0, verdicts=verdicts, folds=5, expected=(1, 8))
    assert (found.flagged, found.expected_flags, found.within_promise, found.folds) == (9, (1, 8), False, 5)


@pytest.mark.parametrize(("flagged", "alarms"), [(2, 5), (8, 5), (20, 20)])
def test_the_precision_rests_on_the_promise_where_it_holds(flagged: int, alarms: int) -> None:
    """Calibration rows would give it again, give or take; where it does not hold, they know better."""
    detector = detectors.detector()
    table, anomalous = mixed(100, 20)
    verdicts = detector.score(table)._replace(anomaly=(np.arange(120) < flagged) | (np.arange(120) >= 110))
    options = {"verdicts": verdicts, "folds": 5, "expected": (1, 9), "weight": 10.0}
    found = evaluate_rows(detector, table, anomalous, seed=0, **options).labelled  # type: ignore[arg-type]
    assert found is not None
    assert found.counts.fp == flagged
    assert found.precision == precision_of(10, alarms, 10.0)
