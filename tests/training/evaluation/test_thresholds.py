import itertools

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from kilter.service.detector import Calibration, KilterError
from kilter.service.detector.columns import CategoricalColumn
from kilter.service.detector.inputs import Table
from kilter.service.detector.manifest import ChoiceEvidence, choice_in_words
from kilter.service.detector.thresholds import Thresholds
from kilter.training.config import Rule
from kilter.training.evaluation.evaluate import expected_flags
from kilter.training.evaluation.thresholds import LabelledScores, calibrate_groups, check_labels, choose_level

Floats = npt.NDArray[np.float64]
SCORES = st.lists(st.integers(0, 30), min_size=3, max_size=25).map(lambda values: np.array(values, np.float64))
COST = Rule(cost_false_alarm=1.0, cost_miss=10.0)


def calibration(size: int = 199) -> Calibration:
    return Calibration.of(np.random.default_rng(0).normal(10, 5, size), 0.05, 0)


def chosen(rule: Rule, calibration: Calibration, labelled: LabelledScores) -> tuple[float, ChoiceEvidence]:
    level, found = choose_level(rule, calibration, labelled, seed=0)
    assert found.evidence is not None
    return level, found.evidence


def levels(calibration: Calibration) -> Floats:
    """Every level that can be chosen."""
    grid = np.arange(1, calibration.size + 1) / (calibration.size + 1)
    return grid[grid <= 0.5]


def shares(calibration: Calibration, labelled: LabelledScores, level: float) -> tuple[float, float]:
    """Recall and false-positive rate of a stored level, by the calibration's own flags."""
    flagged = Calibration.of(calibration.scores, level, calibration.digits)
    assert labelled.normal is not None
    return float(flagged.anomalies(labelled.anomalous).mean()), float(flagged.anomalies(labelled.normal).mean())


def worth(rule: Rule, rate: float, recall: float, fpr: float) -> float:
    """What a rule wants more of, written down anew."""
    if rule.cost_miss is not None and rule.cost_false_alarm is not None:
        return -(rate * rule.cost_miss * (1 - recall) + (1 - rate) * rule.cost_false_alarm * fpr)
    flagged = rate * recall + (1 - rate) * fpr
    precision = rate * recall / flagged if flagged else 0.0
    if rule.f_beta is not None:
        both = rule.f_beta**2 * precision + recall
        return (1 + rule.f_beta**2) * precision * recall / both if both else 0.0
    return recall if precision >= (rule.recall_at_precision or 0) - 1e-12 else -1.0


@settings(max_examples=15)
@given(SCORES, SCORES, st.sampled_from([Rule(f_beta=1.0), Rule(f_beta=2.0, anomaly_rate=0.02), COST]))
def test_no_level_serves_better(normal: Floats, anomalous: Floats, rule: Rule) -> None:
    """By brute force over all levels, with the class mix that is stated; the figure is what the level reaches."""
    common, labelled = calibration(), LabelledScores(normal, anomalous + 8, 0.1)
    level, evidence = chosen(rule, common, labelled)
    rate = evidence.anomaly_rate
    reached = worth(rule, rate, *shares(common, labelled, level))
    assert abs(evidence.figure.value) == pytest.approx(abs(reached))
    if not evidence.edge:
        assert reached >= max(worth(rule, rate, *shares(common, labelled, other)) for other in levels(common)) - 1e-9


@settings(max_examples=15)
@given(SCORES, SCORES)
def test_recall_is_the_highest_at_the_precision(normal: Floats, anomalous: Floats) -> None:
    """Or the error names the highest precision that there is."""
    common, labelled, rule = calibration(), LabelledScores(normal, anomalous + 8, 0.3), Rule(recall_at_precision=0.8)
    best = max(worth(rule, 0.3, *shares(common, labelled, level)) for level in np.arange(1, 200) / 200)
    if best <= 0:
        with pytest.raises(KilterError, match=r"no threshold has a precision of 0\.8 on the labelled rows"):
            choose_level(rule, common, labelled, seed=0)
        return
    level, evidence = chosen(rule, common, labelled)
    if not evidence.edge:
        assert worth(rule, 0.3, *shares(common, labelled, level)) == pytest.approx(best)


@settings(max_examples=15)
@given(SCORES, SCORES, st.sampled_from([Rule(f_beta=1.0), COST]), st.booleans())
def test_a_level_is_one_that_can_be_stored(normal: Floats, anomalous: Floats, rule: Rule, held_out: bool) -> None:
    """k / (n + 1) with k at least 1 and at most half, inside its interval's reach."""
    common = calibration(99)
    level, evidence = chosen(rule, common, LabelledScores(normal if held_out else None, anomalous, 0.5))
    rank = level * 100
    assert rank == pytest.approx(round(rank))
    assert 1 <= round(rank) <= 50
    assert evidence.held_out == held_out
    assert evidence.normal == (len(normal) if held_out else 99)


def test_calibration_rows_stand_for_normal_ones() -> None:
    """Without held-out rows a level k / (n + 1) flags k of the n calibration rows, and the sentence warns of it."""
    common = Calibration.of(np.arange(99.0), 0.05, 0)
    level, found = choose_level(COST, common, LabelledScores(None, np.full(10, 89.5), 0.5), seed=0)
    assert level == pytest.approx(0.10)
    assert found.evidence is not None
    assert found.evidence.figure.value == pytest.approx(0.5 * 10 / 99)
    assert "the promise holds only nearly" in choice_in_words(found, 99)


def test_the_edges_are_told() -> None:
    """A choice at the lowest or the highest level says why it went no further."""
    common = calibration(99)
    normal = np.random.default_rng(1).normal(10, 5, 500)
    low, evidence = chosen(Rule(f_beta=1.0), common, LabelledScores(normal, np.full(50, 1e6), 0.01))
    assert (low, evidence.edge) == (0.01, "lowest")
    high, evidence = chosen(
        Rule(cost_false_alarm=1, cost_miss=1e6), common, LabelledScores(normal, np.full(50, -1e6), 0.5)
    )
    assert (high, evidence.edge) == (0.5, "highest")


def test_intervals_shrink_with_rows() -> None:
    """The bootstrap intervals hold the values, and ten times the rows narrow them."""
    rng = np.random.default_rng(2)
    widths = []
    for rows in (60, 2_000):
        labelled = LabelledScores(rng.normal(10, 5, rows), rng.normal(22, 5, rows), 0.2)
        _, evidence = chosen(Rule(f_beta=1.0), calibration(999), labelled)
        for estimate in (evidence.figure, evidence.level):
            assert estimate.low <= estimate.value <= estimate.high
        widths.append(evidence.figure.high - evidence.figure.low)
    assert widths[1] < widths[0] / 2


def test_a_rarer_anomaly_gets_a_lower_rate() -> None:
    """The class mix counts, and not how many rows of each class there happen to be."""
    rng = np.random.default_rng(3)
    normal, anomalous = rng.normal(10, 5, 500), rng.normal(18, 5, 500)
    rates = [
        chosen(Rule(f_beta=1.0, anomaly_rate=rate), calibration(999), LabelledScores(normal, anomalous, 0.5))[0]
        for rate in (0.5, 0.1, 0.01)
    ]
    assert all(later < earlier for earlier, later in itertools.pairwise(rates))


def test_a_rule_by_labels_needs_anomalies() -> None:
    """The message says how to name them, or what to do without."""
    with pytest.raises(KilterError, match="needs labelled anomalies, and there are none: name the label column"):
        check_labels(COST, 0)
    check_labels(Rule(alerts_per_day=1, records_per_day=100), 0)


SITE = CategoricalColumn("site", (), ())


def table(sites: list[str | None]) -> Table:
    return Table({"site": np.array(sites, object)}, len(sites), [])


def test_the_rate_of_each_group_is_kept() -> None:
    """Groups with scores of their own: over calibration sets the realised rate of each is k / (n + 1)."""
    rng = np.random.default_rng(0)
    shifts = {"a": 0.0, "b": 3.0, "small": -2.0}
    sites: list[str | None] = [*["a"] * 150, *["b"] * 60, *["small"] * 10]
    means = np.array([shifts[site or ""] for site in sites])
    realised: dict[str, list[float]] = {"a": [], "b": []}
    for seed in range(400):
        groups = calibrate_groups(SITE, table(sites), rng.normal(means), 0.1, 6, seed=seed)
        for name, rates in realised.items():
            rates.append(float(stats.norm(shifts[name]).sf(groups.calibrations[name].threshold)))
    assert {name: own.size for name, own in groups.calibrations.items()} == {"a": 149, "b": 59, "small": 9}
    for name, rates in realised.items():
        size = groups.calibrations[name].size
        error = stats.beta.std(0.1 * (size + 1), 0.9 * (size + 1)) / np.sqrt(len(rates))
        assert np.mean(rates) == pytest.approx(0.1, abs=4 * error)


def test_groups_that_are_too_small_have_no_calibration() -> None:
    """They fall back to the common one, as records without a group do."""
    sites: list[str | None] = [*["a"] * 40, *["b"] * 18, *[None] * 40]
    groups = calibrate_groups(SITE, table(sites), np.arange(98.0), 0.05, 6, seed=0)
    assert {name: own.size for name, own in groups.calibrations.items()} == {"a": 39}
    common = Calibration.of(np.arange(98.0), 0.05, 6)
    found = Thresholds(common, groups).judge(np.full(3, 50.0), table(["a", "b", None]))
    assert found.p_value.tolist() == [1 / 40, *common.p_values(np.full(2, 50.0)).tolist()]


def test_the_number_of_flags_to_expect_adds_up_over_groups() -> None:
    """The interval holds 95 % of the sums of what each group's threshold flags."""
    rng = np.random.default_rng(1)
    sites: list[str | None] = [*["a"] * 300, *["b"] * 200, *[None] * 100]
    rows = table(sites)
    inside = 0
    for seed in range(100):
        scores = rng.normal(size=600)
        groups = calibrate_groups(SITE, rows, scores, 0.05, 6, seed=seed)
        common = Calibration.of(scores, 0.05, 6)
        low, high = expected_flags(rows, Thresholds(common, groups))
        # Rows of no group are judged by a calibration of all rows.
        inside += low <= int(Thresholds(common, groups).judge(rng.normal(size=600), rows).anomaly.sum()) <= high
    assert 88 <= inside <= 100
