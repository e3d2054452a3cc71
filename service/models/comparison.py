"""The comparison of two versions that judged the same records, in numbers and in plain words."""

import threading
from typing import NamedTuple

import numpy as np
from pydantic import BaseModel, Field

from kilter.service.detector.arrays import Floats, Mask
from kilter.service.detector.beta import clopper_pearson
from kilter.service.detector.manifest import counted
from kilter.service.monitoring.model_metrics import BucketCounts

PAIRS = 4096  # pairs of p-values that are kept: a uniform sample of all
BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)


class ComparisonCounts(NamedTuple):
    """The counts of a comparison at one moment."""

    both_normal: int
    only_shadow: int
    only_live: int
    both_anomalous: int
    rejected: int
    """Records that do not fit the version in the shadow."""
    dropped: int
    """Records that were not compared because too many waited."""
    difference: float
    """Sum of the differences of p-values, shadow less live."""
    apart: list[tuple[str, float]]
    """Records by the size of that difference: `BucketCounts.cumulative` of BUCKETS."""
    apart_sum: float

    @property
    def compared(self) -> int:
        """The records that both judged."""
        return self.both_normal + self.both_anomalous + self.only_live + self.only_shadow


class Comparison:
    """Adds up pairs of verdicts; safe to be used from several threads."""

    def __init__(self, seed: int = 0) -> None:
        self._lock = threading.Lock()
        self._rng = np.random.default_rng(seed)
        self._counts = np.zeros(4, np.int64)
        self._rejected = self._dropped = 0
        self._difference = 0.0
        self._apart = BucketCounts(BUCKETS)
        self._pairs = np.empty((PAIRS, 2))
        self._seen = 0

    def add(self, live_p: Floats, live_flags: Mask, shadow_p: Floats, shadow_flags: Mask) -> None:
        """Add the p-values and flags of n records, each (n,), under both versions."""
        counts = np.bincount(2 * live_flags.astype(np.int64) + shadow_flags, minlength=4)
        difference = shadow_p - live_p
        with self._lock:
            self._counts += counts
            self._difference += float(difference.sum())
            self._apart.add(np.abs(difference))
            self._keep(np.column_stack([live_p, shadow_p]))

    def _keep(self, pairs: Floats) -> None:
        """Sample without replacement from all pairs so far, each as likely (Waterman's algorithm R)."""
        order = np.arange(self._seen, self._seen + len(pairs))
        places = np.where(order < PAIRS, order, (self._rng.random(len(pairs)) * (order + 1)).astype(np.int64))
        kept = places < PAIRS
        self._pairs[places[kept]] = pairs[kept]
        self._seen += len(pairs)

    def reject(self, records: int) -> None:
        with self._lock:
            self._rejected += records

    def drop(self, records: int) -> None:
        with self._lock:
            self._dropped += records

    def tally(self) -> ComparisonCounts:
        with self._lock:
            both_normal, only_shadow, only_live, both_anomalous = self._counts.tolist()
            flags = both_normal, only_shadow, only_live, both_anomalous, self._rejected, self._dropped
            return ComparisonCounts(*flags, self._difference, self._apart.cumulative(), self._apart.sum)

    def pairs(self) -> Floats:
        """The sample of pairs of p-values, live and shadow, (m, 2)."""
        with self._lock:
            return self._pairs[: min(self._seen, PAIRS)].copy()


def rank_correlation(pairs: Floats) -> float | None:
    """Spearman's correlation of pairs, (n, 2), ties sharing their mean rank; None where a side does not vary."""
    if not len(pairs) or (pairs == pairs[0]).all(axis=0).any():
        return None
    return float(np.corrcoef([_ranks(side) for side in pairs.T])[0, 1])


def _ranks(values: Floats) -> Floats:
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[places])


class Agreement(BaseModel):
    """Records by what both versions said of them."""

    both_normal: int
    both_anomalous: int
    only_live: int = Field(description="flagged by the version that serves alone")
    only_shadow: int = Field(description="flagged by the version in the shadow alone")


class FlagRates(BaseModel):
    """The shares of the compared records that each version flags."""

    live: float
    shadow: float
    difference: float = Field(description="shadow less live")
    low: float = Field(description="lower end of the difference's interval")
    high: float = Field(description="upper end of the difference's interval")


class PValues(BaseModel):
    """The differences of p-values, shadow less live, and how alike the two order records."""

    mean_difference: float
    quantiles: dict[str, float] = Field(description="of the difference, by level, from a sample")
    rank_correlation: float | None = Field(description="Spearman's, from a sample; null where it is not defined")
    sampled: int = Field(description="pairs in that sample")


class Findings(BaseModel):
    """What a comparison says."""

    agreement: Agreement
    flag_rates: FlagRates | None = Field(description="null before the first record; 95 % exact interval")
    p_values: PValues | None = Field(description="null before the first record")
    evidence: str = Field(description="the same in words")


def describe_comparison(comparison: Comparison, target_fpr: float) -> Findings:
    """The findings up to now; `target_fpr` is the rate of the version in the shadow."""
    tally = comparison.tally()
    agreement = Agreement(**{name: getattr(tally, name) for name in Agreement.model_fields})
    if not tally.compared:
        return Findings(agreement=agreement, flag_rates=None, p_values=None, evidence="No record was compared yet.")
    rates = compare_flag_rates(tally)
    pairs = comparison.pairs()
    difference = pairs[:, 1] - pairs[:, 0]
    p_values = PValues(
        mean_difference=tally.difference / tally.compared,
        quantiles={f"{level:g}": float(np.quantile(difference, level)) for level in LEVELS},
        rank_correlation=rank_correlation(pairs),
        sampled=len(pairs),
    )
    evidence = tell_evidence(tally, rates, target_fpr)
    return Findings(agreement=agreement, flag_rates=rates, p_values=p_values, evidence=evidence)


def compare_flag_rates(tally: ComparisonCounts) -> FlagRates:
    """Both rates, and the exact interval of their difference.

    Given on how many records the versions disagree, the number that the one in the shadow flags is binomial, with one
    half where both flag as often (McNemar, Psychometrika, 1947); so the interval of Clopper and Pearson for its share
    s gives (2 s - 1) times the share of disagreements.
    """
    n, apart = tally.compared, tally.only_live + tally.only_shadow
    low, high = clopper_pearson(tally.only_shadow, apart) if apart else (0.5, 0.5)
    return FlagRates(
        live=(tally.both_anomalous + tally.only_live) / n,
        shadow=(tally.both_anomalous + tally.only_shadow) / n,
        difference=(tally.only_shadow - tally.only_live) / n,
        low=(2 * low - 1) * apart / n,
        high=(2 * high - 1) * apart / n,
    )


def tell_evidence(tally: ComparisonCounts, rates: FlagRates, target_fpr: float) -> str:
    """The evidence in sentences."""
    n, apart = tally.compared, tally.only_live + tally.only_shadow
    sentences = [
        f"Of {n:,} compared records the serving version flags {rates.live:.3%} and the one in the shadow "
        f"{rates.shadow:.3%}, which promises {target_fpr:g} of normal records."
    ]
    if apart:
        more = "that one flags more than the other is not shown"
        if rates.low > 0 or rates.high < 0:
            more = f"the one in the shadow flags {'more' if rates.low > 0 else 'less'}"
        sentences.append(
            f"They differ on {apart:,}, of which the one in the shadow alone flags {tally.only_shadow:,}: the "
            f"difference of the rates is {rates.difference:+.3%}, between {rates.low:+.3%} and {rates.high:+.3%} with "
            f"95 % confidence (exact, by McNemar's test): {more}."
        )
    else:
        most = clopper_pearson(0, n, 0.9)[1]
        sentences.append(f"They agree on all of them: with 95 % confidence they differ on less than {most:.2%}.")
    if tally.rejected:
        fit = "does" if tally.rejected == 1 else "do"
        sentences.append(f"{counted(tally.rejected, 'record')} {fit} not fit the version in the shadow.")
    if tally.dropped:
        were = "was" if tally.dropped == 1 else "were"
        sentences.append(f"{counted(tally.dropped, 'record')} {were} left out, since too many waited.")
    sentences.append("The interval takes records as independent; where they come in bursts it is too narrow.")
    return " ".join(sentences)
