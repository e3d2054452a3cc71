"""Tests of `training.evaluation.significance`: p-values of rows among which there are anomalies."""

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from kilter.service.detector.arrays import Floats, Positions
from kilter.service.formats.discoveries import find_discoveries
from kilter.training.evaluation.significance import Significance, judge_folds, measure_spacing

Law = Callable[[np.random.Generator, int], Floats]
LAWS: dict[str, Law] = {
    "exponential": lambda rng, n: rng.exponential(size=n),
    "normal": lambda rng, n: rng.normal(size=n),
    "logistic": lambda rng, n: rng.logistic(size=n),
    "gumbel": lambda rng, n: rng.gumbel(size=n),
    "uniform": lambda rng, n: rng.uniform(size=n),
    "log of a power law": lambda rng, n: np.log(1 + rng.pareto(1.5, size=n)),
}
"""Laws whose upper half falls off exponentially or faster."""
ROUNDS = 400
CERTAIN = 4  # standard errors


def folds_of(rows: int, rng: np.random.Generator, parts: int = 5) -> list[Positions]:
    """Rows in folds at random."""
    return [np.sort(part) for part in np.array_split(rng.permutation(rows), parts)]


def judged(scores: Floats, rng: np.random.Generator) -> Significance:
    """All rows judged, none a copy."""
    return judge_folds(scores, folds_of(len(scores), rng), np.ones(len(scores), bool))


def shares(scores: Callable[[np.random.Generator], tuple[Floats, int]], levels: list[float]) -> list[list[float]]:
    """For each level the share of the first so many rows, the normal ones, with p-values up to it, draw by draw."""
    found: list[list[float]] = [[] for _ in levels]
    for seed in range(ROUNDS):
        rng = np.random.default_rng(seed)
        values, normal = scores(rng)
        p_values = judged(values, rng).p_value[:normal]
        for level, share in zip(levels, found, strict=True):
            share.append(float((p_values <= level).mean()))
    return found


@pytest.mark.parametrize("name", LAWS)
@pytest.mark.parametrize("rows", [40, 300])
def test_normal_rows_have_valid_p_values(name: str, rows: int) -> None:
    """With a probability of at most t a p-value is at most t, in small tables too."""
    levels = [0.2, 0.1, 0.02, 0.005]
    for level, found in zip(levels, shares(lambda rng: (LAWS[name](rng, rows), rows), levels), strict=True):
        assert np.mean(found) <= level + CERTAIN * np.std(found) / np.sqrt(ROUNDS)


def test_exponential_scores_have_uniform_p_values() -> None:
    """Nothing is given away where scores fall off as it is assumed: the test of the bound can fail."""
    levels = [0.1, 0.02, 0.005]
    for level, found in zip(levels, shares(lambda rng: (LAWS["exponential"](rng, 300), 300), levels), strict=True):
        assert np.mean(found) == pytest.approx(level, abs=CERTAIN * np.std(found) / np.sqrt(ROUNDS))


@pytest.mark.parametrize("name", LAWS)
@pytest.mark.parametrize("share", [0.02, 0.1, 0.3])
def test_anomalies_above_leave_p_values_of_normal_rows_valid(name: str, share: float) -> None:
    """However many lie above, near or far, together or apart."""
    levels = [0.1, 0.02, 0.005]

    def mixed(rng: np.random.Generator) -> tuple[Floats, int]:
        normal = LAWS[name](rng, 300)
        odd = round(share * 300 / (1 - share))
        top = normal.max() + rng.uniform(0, 3) * normal.std()
        return np.concatenate([normal, top + rng.choice([0.0, 1.0]) * rng.exponential(size=odd)]), 300

    for level, found in zip(levels, shares(mixed, levels), strict=True):
        assert np.mean(found) <= level + CERTAIN * np.std(found) / np.sqrt(ROUNDS)


@pytest.mark.parametrize("share", [0.0, 0.05, 0.1])
def test_false_discoveries_are_as_few_as_promised(share: float) -> None:
    """Benjamini and Hochberg's procedure at 0.1, on the law that leaves no room, with anomalies that it finds."""
    proportions, power = [], []
    for seed in range(ROUNDS):
        rng = np.random.default_rng(seed)
        odd = round(share * 300)
        scores = np.concatenate([rng.exponential(size=300 - odd), 20 + rng.exponential(size=odd)])
        p_values = judged(scores, rng).p_value
        flagged = p_values <= find_discoveries(Counter(p_values.tolist()), 0.1, 1 / 300).cut
        proportions.append(flagged[: 300 - odd].sum() / max(flagged.sum(), 1))
        power.append(flagged[300 - odd :].mean() if odd else 1.0)
    assert np.mean(proportions) <= 0.1 + CERTAIN * np.std(proportions) / np.sqrt(ROUNDS)
    assert np.mean(power) > 0.95


def test_more_anomalies_than_a_quarter_are_not_flagged() -> None:
    """They reach the quantiles by which they are judged: nothing is flagged then, rather than too much."""
    rng = np.random.default_rng(0)
    scores = np.concatenate([rng.exponential(size=180), 20 + rng.exponential(size=120)])
    assert judged(scores, rng).p_value.min() > 0.1 / 300


def test_heavier_tails_break_the_promise() -> None:
    """Scores of a power law of their own fall off more slowly: it is an assumption, which has its limits."""
    (found,) = shares(lambda rng: (rng.standard_t(2, size=300), 300), [0.001])
    assert np.mean(found) > 0.002


@given(st.integers(0, 2**32 - 1), st.integers(40, 120), st.floats(0.1, 10), st.floats(-5, 5))
def test_verdicts_know_no_unit_and_no_order(seed: int, rows: int, unit: float, shift: float) -> None:
    """Scores in another unit, or rows in another order, are judged the same; higher scores have lower p-values."""
    rng = np.random.default_rng(seed)
    scores, folds = rng.gumbel(size=rows), folds_of(rows, rng)
    every = np.ones(rows, bool)
    first, other = judge_folds(scores, folds, every), judge_folds(scores * unit + shift, folds, every)
    np.testing.assert_allclose(first.score, other.score, atol=3e-6)
    order = rng.permutation(rows)
    place = np.argsort(order)
    moved = judge_folds(scores[order], [np.sort(place[fold]) for fold in folds], every)
    np.testing.assert_array_equal(first.p_value[order], moved.p_value)
    assert (np.diff(first.p_value[np.argsort(first.score, kind="stable")]) <= 0).all()
    assert ((first.p_value > 0) & (first.p_value <= 1)).all()


def test_folds_of_another_level_are_put_on_one_scale() -> None:
    """A model that scores all rows higher by a constant changes nothing."""
    rng = np.random.default_rng(0)
    scores, folds = rng.exponential(size=200), folds_of(200, rng)
    shifted = scores.copy()
    for i, fold in enumerate(folds):
        shifted[fold] += 3.0 * i
    every = np.ones(200, bool)
    np.testing.assert_allclose(
        judge_folds(scores, folds, every).score, judge_folds(shifted, folds, every).score, atol=2e-6
    )


def test_copies_calibrate_once() -> None:
    """Rows that do not count are judged, and change nothing for others."""
    rng = np.random.default_rng(0)
    scores, folds = rng.exponential(size=100), folds_of(100, rng)
    twice = np.concatenate([scores, scores[:20]])
    more = [np.concatenate([fold, 100 + fold[fold < 20]]) for fold in folds]
    alone = judge_folds(scores, folds, np.ones(100, bool))
    among = judge_folds(twice, more, np.arange(120) < 100)
    np.testing.assert_array_equal(among.p_value[:100], alone.p_value)
    np.testing.assert_array_equal(among.p_value[100:], alone.p_value[:20])


def test_scores_that_are_all_the_same_flag_nothing() -> None:
    """Where there is no spacing ranks are left, and a row that was not judged has no verdict."""
    scores = np.concatenate([np.zeros(50), [9.0], [np.nan]])
    folds = np.array_split(np.arange(51), 5)
    found = judge_folds(scores, folds, np.ones(52, bool))
    assert np.nanmin(found.p_value) == pytest.approx(1 / 51)
    assert np.isnan(found.p_value[51])
    assert np.isnan(found.score[51])


@given(st.integers(0, 2**32 - 1), st.integers(8, 400))
def test_spacings_add_up_to_the_law_that_the_p_value_is_made_of(seed: int, rows: int) -> None:
    """The number of terms is that of the scores between the quantiles, and each counts all scores above it."""
    scores = np.random.default_rng(seed).exponential(size=rows)
    edge, terms, total = measure_spacing(scores)
    ordered = np.sort(scores)
    last = int(np.searchsorted(ordered, edge))
    brute = sum((ordered[i + 1] - ordered[i]) * (rows - 1 - i) for i in range(last - terms, last))
    assert total == pytest.approx(brute)
    assert abs(terms - rows / 4) <= 1


def test_the_sum_of_spacings_is_a_gamma_variable() -> None:
    """Of exponential scores: Renyi's representation."""
    rng = np.random.default_rng(0)
    found = [measure_spacing(rng.exponential(size=40)) for _ in range(2_000)]
    assert stats.kstest([spacing.total for spacing in found], stats.gamma(found[0].terms).cdf).pvalue > 1e-3
