"""The beta distribution, by which the share of records has an interval: the service has no SciPy."""

import math

CONFIDENCE = 0.95


def probability(x: float, a: float, b: float) -> float:
    """P(Beta(a, b) <= x): the regularised incomplete beta function.

    By Lentz's method on its continued fraction, in about sqrt(max(a, b)) steps (DLMF 8.17.22).
    """
    if not 0 < x < 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - probability(1 - x, b, a)
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x))
    fraction, c, d, change, step = 1.0, 1.0, 0.0, 0.0, 0
    while abs(change - 1) > 1e-15:
        step += 1
        m, odd = divmod(step, 2)
        if odd:
            term = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            term = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        d = 1 / _away(1 + term * d)
        c = _away(1 + term / c)
        change = c * d
        fraction *= change
    return front / (a * fraction)


def _away(value: float) -> float:
    """The value, kept away from zero, by which it will be divided."""
    return value if abs(value) > 1e-300 else 1e-300


def quantile(level: float, a: float, b: float) -> float:
    """The x with P(Beta(a, b) <= x) = level, by bisection to the last place."""
    low, high = 0.0, 1.0
    while (middle := (low + high) / 2) not in (low, high):
        low, high = (middle, high) if probability(middle, a, b) < level else (low, middle)
    return high


def clopper_pearson(successes: float, trials: float, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The exact interval of a share, with at least `confidence` (Clopper and Pearson, Biometrika, 1934)."""
    aside = (1 - confidence) / 2
    low = quantile(aside, successes, trials - successes + 1) if successes else 0.0
    high = quantile(1 - aside, successes + 1, trials - successes) if successes < trials else 1.0
    return low, high
