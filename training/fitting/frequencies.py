"""Whether rows that repeat recur by nature, as draws from a fixed distribution do, or were copied.

Of draws from any distribution the numbers of values that occur once, twice, ... are those of a mixture of Poisson
distributions (Good, 1953), and the values that occur again are commoner ones. Copies are neither: each once more, or
five times, or fifty, and any row as likely as another.
"""

from typing import NamedTuple

import numpy as np
from scipy import optimize, stats

from kilter.service.detector.arrays import Array, Floats, Matrix, Positions

SIGNIFICANCE = 1e-3
STEPS = 300  # of the expectation-maximisation
RATES = 4  # rates in the mixture for one unit of the root of a rate, of which a Poisson's deviation is half
CELLS = 16  # numbers of occurrences are told apart to an eighth of their root
RESAMPLES = 1_999


class Mixture(NamedTuple):
    """The mixture of Poisson distributions that fits numbers of occurrences best."""

    p_value: float
    """Of the numbers if they came from it: low for copies."""
    unexplained: float
    """The share of the values that occur again whose numbers would have to be others."""
    gain: float
    """Twice the log-likelihood above that of one Poisson distribution: high where values are of many frequencies."""


class Commonness(NamedTuple):
    """How common the values of distinct rows are."""

    least: Floats
    """How many of the rows have the least common value of each, (rows,).

    Rows that recur by nature share their values with others, and copies of rows with a number of their own do not.
    """
    chance: float
    """The probability that two rows are the same if columns are independent, from the rows with their repeats."""

    @classmethod
    def of(cls, x: Matrix, counts: Positions) -> "Commonness":
        """That of distinct rows, (n, features), that occur so often, (n,)."""
        least, chance, total = np.full(len(x), float(len(x))), 1.0, counts.sum()
        for values in x.T:
            _, which, rows = np.unique(values, return_inverse=True, return_counts=True)
            least = np.minimum(least, rows[which])
            same = np.bincount(which, counts)
            chance *= float((same * (same - 1)).sum() / max(total * (total - 1), 1))
        return cls(least, chance)


def recur_by_nature(counts: Positions, common: Commonness | None = None) -> bool:
    """Whether distinct rows that occur so often, (rows,), at least one, recur by nature.

    Rows do if those that recur are commoner than others, and a mixture explains most of them. Else a mixture has to
    explain all, and there are so few possible rows that chance explains most of the pairs, or rows are of many
    frequencies. Where too few recur to tell, they count as copies: little depends on them.
    """
    again, total = counts > 1, int(counts.sum())
    if not again.any():
        return False
    mixture = fit_mixture(counts)
    if common is not None and not again.all():
        likelier = stats.mannwhitneyu(common.least[again], common.least[~again], alternative="greater").pvalue
        if likelier < SIGNIFICANCE and mixture.unexplained < 0.5:
            return True
    by_chance = common is not None and 2 * common.chance * total * (total - 1) > (counts * (counts - 1.0)).sum()
    broad = bool(stats.chi2.sf(mixture.gain, 2) < SIGNIFICANCE)
    return mixture.p_value > SIGNIFICANCE and bool(by_chance or broad)


def fit_mixture(counts: Positions) -> Mixture:
    """The mixture for numbers of occurrences, each at least 1: (values,).

    It is the nonparametric maximum-likelihood one among Poisson distributions without 0 (Laird, 1978). Its p-value is
    by the likelihood ratio to the numbers as they are, among draws from it.
    """
    top = int(counts.max())
    last = top + 4 * int(np.sqrt(top)) + 8
    cells = _cells(np.arange(1, last + 1))
    ends = np.flatnonzero(np.diff(cells, append=cells[-1] + 1)) + 1
    roots = np.arange(0.5, np.sqrt(last), 1 / RATES)
    rates = np.concatenate([[_likeliest_rate(counts)], np.geomspace(0.01, 0.2, 8), roots**2])[:, None]
    below = stats.poisson.cdf(np.concatenate([[0], ends]), rates)
    chances = np.diff(below, axis=1) / -np.expm1(-rates)
    places = np.searchsorted(ends, counts)
    observed = np.bincount(places, minlength=len(ends)).astype(np.float64)
    seen = observed > 0
    weights = np.full(len(rates), 1 / len(rates))
    for _ in range(STEPS):
        mixed = np.maximum(weights @ chances[:, seen], 1e-300)
        weights = weights * (chances[:, seen] @ (observed[seen] / mixed)) / len(counts)
    expected = np.maximum(weights @ chances, 1e-300)
    expected /= expected.sum()

    def likelihood(parts: Floats) -> Floats:
        return np.asarray(np.log(np.maximum(parts[..., seen], 1e-300)) @ observed[seen])

    def ratio(numbers: Array) -> Floats:
        shares = np.where(numbers > 0, numbers / len(counts), expected)
        return np.asarray((numbers * np.log(shares / expected)).sum(-1))

    draws = np.random.default_rng(0).multinomial(len(counts), expected, size=RESAMPLES)
    reached = int((ratio(draws) >= ratio(observed) - 1e-9).sum())
    excess = np.maximum(observed - len(counts) * expected, 0)[1:].sum()
    return Mixture(
        p_value=(1 + reached) / (1 + RESAMPLES),
        unexplained=float(excess / max(observed[1:].sum(), 1)),
        gain=float(2 * (likelihood(expected) - likelihood(chances[0]))),
    )


def _likeliest_rate(counts: Positions) -> float:
    """The rate of the Poisson distribution without 0 that has the mean of some counts, (values,)."""
    mean = float(counts.mean())
    return float(optimize.brentq(lambda rate: rate / -np.expm1(-rate) - mean, 1e-9, mean)) if mean > 1 else 1e-9


def _cells(counts: Positions) -> Positions:
    """Cells of numbers of occurrences, of which small ones have one each."""
    return np.where(
        counts <= CELLS * CELLS // 4, counts, CELLS * CELLS // 4 + np.floor(CELLS * (np.sqrt(counts) - CELLS / 2))
    ).astype(np.int64)
