"""The health of a fitted model: a figure for every symptom of the usual tables of trouble, its limit, and what to do.

Most are about what lies between and beside the codes of records: the way from one to another, and draws from the prior.
The limits are rules of thumb, by no data set: a symptom is a reason to look, and not an error.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from kilter.service.detector.arrays import Floats, Matrix
from kilter.service.detector.calibration import Calibration
from kilter.service.detector.findings import Diagnosis, Symptom
from kilter.service.detector.networks.base import Network, Posterior
from kilter.training.config import FitConfig
from kilter.training.evaluation.baselines import RowScore
from kilter.training.fitting.diagnosis import LEAST_KL, Tolerance

DRAWS = 200  # most draws from the prior, and most records whose codes are looked at
PAIRS = 50
STEPS = 10  # from one record of a pair to the other
EDGE = 0.99  # a place is a hole if it lies farther from all codes than this share of codes from the nearest other
LONGEST = 0.5 * STEPS  # longest step of a way, in mean ones, that is no jump: half of the way
OVERLAP = 0.25
HOLES = 0.5
STRANGE = 0.5


class HealthMeasures(NamedTuple):
    """How the health of models of one kind of records is measured."""

    tolerance: Tolerance
    most: int
    """Most records of a kind that are looked at."""
    drawn: bool
    """Whether decoded records are drawn from the likelihood, or taken as expected."""
    detail: Callable[[Network, Tensor], float]
    """How much there is to see in records, or in reconstructions of them, (n, axes)."""
    least_detail: float
    """The least share of a record's detail that a reconstruction should have."""


class Surroundings(NamedTuple):
    """A model around its network."""

    score: RowScore
    """The score of encoded records."""
    calibration: Calibration
    config: FitConfig
    measures: HealthMeasures


@torch.no_grad()
def find_symptoms(network: Network, diagnosis: Diagnosis, x: Matrix, around: Surroundings) -> tuple[Symptom, ...]:
    """All symptoms, absent ones too, by encoded normal records that the network did not see, (n, features)."""
    rows = torch.from_numpy(
        x[np.sort(np.random.default_rng(0).permutation(len(x))[: min(DRAWS, around.measures.most)])]
    )
    generator = torch.Generator().manual_seed(0)
    symptoms = fit_symptoms(diagnosis, network.columns, around)
    if len(rows) < 2:
        return symptoms
    inputs, posterior, likelihood = network.infer(rows)
    known, kept = (
        around.measures.detail(network, seen) for seen in (network.target(inputs), network.center(likelihood))
    )
    symptoms += (
        Symptom(
            "blurry",
            "share of the detail of new records that their reconstructions keep",
            kept / max(known, 1e-12),
            around.measures.least_detail,
            "below",
            "Try a larger fit.latent or fit.steps, fit.beta below 1, or the model ae. Where records are noise, or "
            "columns independent of each other, there is nothing to keep.",
        ),
    )
    if network.has_elbo and bool(torch.isfinite(posterior.log_variance).all()):
        symptoms += (
            Symptom(
                "overlapping codes",
                "share of draws from a record's posterior that another's explains better: 0.5 where all are one",
                overlap(posterior, generator),
                OVERLAP,
                "above",
                "Codes hardly tell records apart: try a larger fit.latent or fit.steps, or a smaller fit.beta.",
            ),
        )
    codes = network.code(rows)
    made = prior_codes(network, codes, generator)
    pairs = len(codes) // 2 if len(codes) < 2 * PAIRS else PAIRS
    ways = [decoded(network, codes[:pairs].lerp(codes[pairs : 2 * pairs], t / STEPS)) for t in range(STEPS + 1)]
    middle = judged(network, codes[:pairs].lerp(codes[pairs : 2 * pairs], 0.5), generator, around)
    return (
        *symptoms,
        Symptom(
            "fragmented codes",
            "share of draws from the prior that lie farther from all draws of posteriors than these from each other",
            holes(posterior.draw(generator).transpose(0, 1).flatten(1), made[:, : network.members * network.latent]),
            HOLES,
            "above",
            "The codes fill the prior badly: try a larger fit.beta, a smaller fit.latent, or fit.cycles = 4. Detection "
            "does not need the prior.",
        ),
        Symptom(
            "random-looking samples",
            "share of draws from the prior that, decoded, the detector flags",
            judged(network, made, generator, around),
            STRANGE,
            "above",
            "Draw near records, not from the prior alone; or try a larger fit.beta, or a smaller fit.latent.",
        ),
        Symptom(
            "holes on the way",
            "share of records halfway between the codes of two normal ones that the detector flags",
            middle,
            STRANGE,
            "above",
            "Where normal records fall into groups this is right. Else try a larger fit.beta, or a smaller fit.latent.",
        ),
        Symptom(
            "jagged ways",
            f"longest of {STEPS} steps from one record to another, in mean steps",
            roughness(torch.stack(ways)),
            LONGEST,
            "above",
            "The decoder jumps: try a larger fit.beta or fit.weight_decay, or a longer fit.warm_up.",
        ),
    )


def fit_symptoms(diagnosis: Diagnosis, columns: int, around: Surroundings) -> tuple[Symptom, ...]:
    """Of the fit itself, which the diagnosis has measured: collapse, and overfitting."""
    beta = around.config.kl_weight
    gentler = f"fit.beta below {beta:g}, " if beta > 1 else ""
    advice = (
        f"Try fit.free_bits = 0.1, {gentler}or a longer fit.warm_up, fit.cycles = 4, or a smaller fit.weight_decay."
    )
    if diagnosis.remedy is not None and diagnosis.remedy.columns is None:
        advice = "Nothing need be done: no column tells anything about another that the fitting rows could prove."
    collapse = (
        Symptom("posterior collapse", "KL of a record in nats", sum(diagnosis.kl), LEAST_KL, "below", advice),
        Symptom(
            "unused latent space",
            "active units of the member that has fewest",
            min(diagnosis.active_units),
            1,
            "below",
            advice,
        ),
    )
    gap = diagnosis.elbo_fit - diagnosis.elbo_new
    return (
        *(collapse if diagnosis.kl else ()),
        Symptom(
            "overfitting",
            "nats by which a fitting record is described better than a new one",
            gap,
            max(around.measures.tolerance.gap * columns, 3 * diagnosis.gap_error),
            "above",
            "More rows help most; else try a smaller fit.hidden or a larger fit.weight_decay.",
        ),
    )


def overlap(posterior: Posterior, generator: torch.Generator) -> float:
    """How often a draw from a record's posterior has a higher density under that of another, over all pairs.

    0.5 where all records have one posterior; the mean over members.
    """
    z = posterior.draw(generator).unsqueeze(2)
    mean, log_variance = posterior.mean.unsqueeze(1), posterior.log_variance.unsqueeze(1)
    density = -0.5 * ((z - mean).square() * (-log_variance).exp() + log_variance).sum(-1)
    own = density.diagonal(dim1=1, dim2=2).unsqueeze(2)
    pairs = density.shape[1] * (density.shape[1] - 1) * len(density)
    return float(((density > own).double().sum() + 0.5 * ((density == own).double().sum() - own.numel())) / pairs)


def holes(codes: Tensor, made: Tensor) -> float:
    """The share of `made` codes, (m, latent), that are farther from all `codes`, (n, latent), than `EDGE` of these are
    from the nearest other."""
    apart = torch.cdist(codes, codes) + torch.diag(torch.full((len(codes),), torch.inf))
    usual = torch.quantile(apart.amin(1), EDGE)
    return float((torch.cdist(made, codes).amin(1) > usual).float().mean())


def roughness(ways: Tensor) -> float:
    """The longest step of each way, over its mean one, (steps + 1, ways, axes): the median; 1 is even."""
    steps = (ways[1:] - ways[:-1]).norm(dim=-1)
    mean = steps.mean(0)
    moving = mean > 1e-6
    return float((steps.amax(0)[moving] / mean[moving]).median()) if bool(moving.any()) else 1.0


def prior_codes(network: Network, codes: Tensor, generator: torch.Generator) -> Tensor:
    """As many codes with their latent part drawn from the prior; what else is in a code stays that of a record."""
    made = codes.clone()
    made[:, : network.members * network.latent] = network.sample(len(codes), generator).transpose(0, 1).flatten(1)
    return made


def decoded(network: Network, codes: Tensor) -> Tensor:
    """What is expected of codes, (n, code_size), as numbers that change smoothly: (n, axes)."""
    latent = codes[:, : network.members * network.latent].reshape(-1, network.members, network.latent)
    return network.center(network.decode(latent.transpose(0, 1)))


def judged(network: Network, codes: Tensor, generator: torch.Generator, around: Surroundings) -> float:
    """The share of codes, (n, code_size), whose records the detector flags."""
    expected, drawn = network.decoded(codes, torch.randn(len(codes), network.noise_size, generator=generator))
    rows: Matrix = (drawn if around.measures.drawn else expected).numpy()
    scores: Floats = around.score(rows)
    return float(around.calibration.anomalies(scores).mean())
