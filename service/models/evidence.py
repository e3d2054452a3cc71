"""What a comparison of two versions says, in numbers and in plain words."""

from datetime import datetime

import numpy as np
from pydantic import BaseModel, Field

from kilter.service.detector import Detector
from kilter.service.detector.beta import interval
from kilter.service.models.comparison import LEVELS, Comparison, Tally, rank_correlation
from kilter.service.models.shadow import Shadow


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


class ShadowInfo(Findings):
    """How the version in the shadow compares with the one that serves, on the records that both judged."""

    name: str
    live: int = Field(description="the version that serves")
    shadow: int = Field(description="the version in its shadow")
    since: datetime = Field(description="when the comparison began: with either of the two, or with another threshold")
    compared: int
    rejected: int = Field(description="records that do not fit the version in the shadow")
    dropped: int = Field(description="records that were not compared because too many waited")
    unfit: str | None = Field(description="why no record fits; null where they do")


def shadow_info(live: Detector, shadow: Shadow) -> ShadowInfo:
    """All about a comparison."""
    found = findings(shadow.comparison, shadow.candidate.calibration.target_fpr)
    tally = shadow.comparison.tally()
    return ShadowInfo(
        **found.model_dump(),
        name=live.name,
        live=live.version,
        shadow=shadow.candidate.version,
        since=shadow.since,
        compared=tally.compared,
        rejected=tally.rejected,
        dropped=tally.dropped,
        unfit=shadow.unfit,
    )


def findings(comparison: Comparison, target_fpr: float) -> Findings:
    """What was found up to now; `target_fpr` is the rate of the version in the shadow."""
    tally = comparison.tally()
    agreement = Agreement(
        both_normal=tally.both_normal,
        both_anomalous=tally.both_anomalous,
        only_live=tally.only_live,
        only_shadow=tally.only_shadow,
    )
    if not tally.compared:
        return Findings(agreement=agreement, flag_rates=None, p_values=None, evidence="No record was compared yet.")
    rates = flag_rates(tally)
    pairs = comparison.pairs()
    difference = pairs[:, 1] - pairs[:, 0]
    p_values = PValues(
        mean_difference=tally.difference / tally.compared,
        quantiles={f"{level:g}": float(np.quantile(difference, level)) for level in LEVELS},
        rank_correlation=rank_correlation(pairs),
        sampled=len(pairs),
    )
    return Findings(
        agreement=agreement, flag_rates=rates, p_values=p_values, evidence=in_words(tally, rates, target_fpr)
    )


def flag_rates(tally: Tally) -> FlagRates:
    """Both rates, and the exact interval of their difference.

    Given on how many records the versions disagree, the number that the one in the shadow flags is binomial, with one
    half where both flag as often (McNemar, Psychometrika, 1947); so the interval of Clopper and Pearson for its share
    s gives (2 s - 1) times the share of disagreements.
    """
    n, apart = tally.compared, tally.only_live + tally.only_shadow
    low, high = interval(tally.only_shadow, apart) if apart else (0.5, 0.5)
    return FlagRates(
        live=tally.live_flagged / n,
        shadow=tally.shadow_flagged / n,
        difference=(tally.only_shadow - tally.only_live) / n,
        low=(2 * low - 1) * apart / n,
        high=(2 * high - 1) * apart / n,
    )


def in_words(tally: Tally, rates: FlagRates, target_fpr: float) -> str:
    """The evidence in sentences."""
    n, apart = tally.compared, tally.only_live + tally.only_shadow
    sentences = [
        f"Of {n:,} compared records the serving version flags {rates.live:.3%} and the one in the shadow "
        f"{rates.shadow:.3%}, which promises {target_fpr:g} of normal records."
    ]
    if not apart:
        sentences.append(
            f"They agree on all of them: with 95 % confidence they differ on less than {interval(0, n, 0.9)[1]:.2%}."
        )
    else:
        more = (
            "the one in the shadow flags more"
            if rates.low > 0
            else "the one in the shadow flags less"
            if rates.high < 0
            else "that one flags more than the other is not shown"
        )
        sentences.append(
            f"They differ on {apart:,}, of which the one in the shadow alone flags {tally.only_shadow:,}: the "
            f"difference of the rates is {rates.difference:+.3%}, between {rates.low:+.3%} and {rates.high:+.3%} with "
            f"95 % confidence (exact, by McNemar's test): {more}."
        )
    if tally.rejected:
        sentences.append(f"{tally.rejected:,} records do not fit the version in the shadow.")
    if tally.dropped:
        sentences.append(f"{tally.dropped:,} records were left out, since too many waited.")
    sentences.append("The interval takes records as independent; where they come in bursts it is too narrow.")
    return " ".join(sentences)
