"""How often does the anomaly alert page for nothing, and how soon does it page for something?

Months of normal traffic, each with a true rate of its own drawn from Beta(k, n + 1 - k), go through the expressions of
the alert KilterAnomalyShareHigh (deploy/prometheus/rules), as Prometheus evaluates them on counters that are scraped
every 15 s. Half of the months take their rate from above the 99.9 % quantile that the alert tests against, where most
of the false pages are, and count for as much as they occur. A test holds this simulation against promtool.

    python -m benchmarks.false_pages --months 400

Prints tables in Markdown.
"""

import argparse
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats

from benchmarks.figures import Floats
from benchmarks.markdown import number, table

SCRAPE_S = 15
EVALUATION_S = 30
DAY_S = 86_400
LEVEL = 2.5
MARGIN = 1.1
"""The alert asks for a share that is as many times the upper rate: a rate just above it would page on and off."""
TARGET = 0.01
UPPER = 0.999
RATES = {"one record a minute": 1 / 60, "ten a second": 10.0, "a thousand a second": 1000.0}
SIZES = (1_000, 10_000)

Counts = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


class Tier(NamedTuple):
    """One of the alert's windows, in seconds; `short` is the window that must be above the upper rate as well."""

    window: int
    short: int | None
    hold: int
    """The alert's `for`."""


TIERS = (Tier(300, None, 120), Tier(3_600, 300, 300), Tier(DAY_S, 3_600, 900))


class Traffic(NamedTuple):
    """The counters of judged and of anomalous records at each scrape."""

    judged: Counts
    anomalous: Counts


def traffic(rng: np.random.Generator, rate: float, shares: Floats) -> Traffic:
    """Poisson traffic at `rate` records a second, of which a share is anomalous, (scrapes,)."""
    judged = rng.poisson(rate * SCRAPE_S, len(shares))
    return Traffic(np.cumsum(judged), np.cumsum(rng.binomial(judged, shares)))


def increase(counter: Counts, window: int, aligned: bool) -> Floats:
    """PromQL's increase at every evaluation; NaN before the window is full.

    A window holds window / 15 s scrapes, of which the first and the last are one interval less than the window apart,
    and increase extrapolates; it holds one more if scrapes fall on its ends (`aligned`), as in promtool.
    """
    steps = window // SCRAPE_S - (0 if aligned else 1)
    found = np.full(len(counter), np.nan)
    found[steps:] = (counter[steps:] - counter[:-steps]) * (window / (steps * SCRAPE_S))
    return found[:: EVALUATION_S // SCRAPE_S]


def firing(seen: Traffic, upper: float, tier: Tier, *, aligned: bool = False) -> Flags:
    """Whether a tier of the alert fires at each evaluation."""
    judged, anomalous = (increase(counter, tier.window, aligned) for counter in seen)
    condition = np.sqrt(anomalous) - np.sqrt(MARGIN * upper * judged) > LEVEL
    if tier.short is not None:
        judged, anomalous = (increase(counter, tier.short, aligned) for counter in seen)
        condition &= anomalous > upper * judged
    return held(condition, tier.hold // EVALUATION_S)


def held(condition: Flags, evaluations: int) -> Flags:
    """Where a condition has been true for that many evaluations before, and is."""
    positions = np.arange(len(condition))
    last_false = np.maximum.accumulate(np.where(condition, -1, positions))
    return positions - last_false > evaluations


def pages(seen: Traffic, upper: float) -> int:
    """How often the alert begins to fire after the first day, every window counted by itself."""
    start = DAY_S // EVALUATION_S
    return sum(
        int(np.diff(firing(seen, upper, tier)[start:].astype(np.int8), prepend=0).clip(0).sum()) for tier in TIERS
    )


def false_pages(rng: np.random.Generator, rate: float, size: int, months: int) -> tuple[float, float]:
    """False pages a month and their standard error, over months of 30 days."""
    beta = stats.beta(*shape(size))
    upper = float(beta.ppf(UPPER))
    scrapes = 31 * DAY_S // SCRAPE_S
    mean, variance = 0.0, 0.0
    for low, high in ((0.0, UPPER), (UPPER, 1.0)):
        shares = beta.ppf(rng.uniform(low, high, max(months // 2, 2)))
        counts = [pages(traffic(rng, rate, np.full(scrapes, share)), upper) for share in shares]
        mean += (high - low) * float(np.mean(counts))
        variance += (high - low) ** 2 * float(np.var(counts, ddof=1)) / len(counts)
    return mean, variance**0.5


def delays(rng: np.random.Generator, rate: float, size: int, share: float, runs: int) -> Floats:
    """Minutes until the alert fires once the share of anomalies goes from 1 % to `share` after a normal day, (runs,).

    Infinite where it takes more than a day.
    """
    upper = float(stats.beta(*shape(size)).ppf(UPPER))
    shares = np.repeat([TARGET, share], DAY_S // SCRAPE_S)
    found = []
    for _ in range(runs):
        seen = traffic(rng, rate, shares)
        fires = np.any([firing(seen, upper, tier) for tier in TIERS], axis=0)[DAY_S // EVALUATION_S :]
        found.append(int(fires.argmax()) * EVALUATION_S / 60 if fires.any() else np.inf)
    return np.array(found)


def shape(size: int) -> tuple[int, int]:
    """k and n + 1 - k of the realised rate's Beta distribution."""
    rank = int(TARGET * (size + 1) + 1e-9)
    return rank, size + 1 - rank


def report(months: int, runs: int, seed: int) -> str:
    """All of it, in Markdown."""
    rng = np.random.default_rng(seed)
    alarms: list[Sequence[str]] = []
    waits: list[Sequence[str]] = []
    for name, rate in RATES.items():
        for size in SIZES:
            mean, error = false_pages(rng, rate, size, months)
            alarms.append([name, f"{size:,}", f"{mean:.4f} ± {error:.4f}"])
        for share in (0.05, 0.2):
            waited = delays(rng, rate, SIZES[0], share, runs)
            cells = [
                number(float(q), 1) if np.isfinite(q) else "over a day"
                for q in np.quantile(waited, [0.5, 1.0], method="higher")
            ]
            waits.append([name, f"{share:.0%}", *cells])
    return "\n\n".join(
        [
            f"{months} months of 30 days for each line, {runs} incidents for each line of the second table.",
            table(("normal traffic", "n", "false pages a month ± s.e."), alarms),
            table(("traffic", "share, from 1 %", "minutes to the page, median", "longest"), waits),
        ]
    )


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--months", type=int, default=400, help="months for each line [default: 400]")
    parser.add_argument("--runs", type=int, default=100, help="incidents for each line [default: 100]")
    parser.add_argument("--seed", type=int, default=0, help="[default: 0]")
    args = parser.parse_args()
    print(report(args.months, args.runs, args.seed))


if __name__ == "__main__":
    main()
