"""The health of a fit, and the remedy of a posterior that collapsed.

A network whose posterior collapsed is fitted anew with free bits and a KL weight of at most 1, and the better fit is
kept. Where columns, or pixels, do not depend on one another a collapse is right: there is nothing for a latent space to
learn.
"""

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import torch
from scipy import stats

from kilter.service.detector.arrays import Floats, Matrix, Positions
from kilter.service.detector.columns import Feature
from kilter.service.detector.findings import Diagnosis, Epoch, Remedy
from kilter.service.detector.networks.base import Network
from kilter.service.detector.schema import Schema
from kilter.training.config import FitConfig
from kilter.training.fitting.fit import HELD_OUT_ROWS, FitProgress, fit, folds

ROWS = 4_000  # most rows on which a figure is taken
ACTIVE = 0.01  # a unit is active if the variance of its posterior mean over rows is above this (Burda et al., 2016)
LEAST_KL = 0.05  # nats per record below which the latent space as a whole says next to nothing
VALUES = 100  # most values of a record that are held against one another; of more, a random sample
BINS = 5
SIGNIFICANCE = 0.01
LEAST = 0.01
"""Nats of mutual information below which a dependence is not worth a latent dimension, however certain it is."""
FREE_BITS = 0.1
WARM_UP = 0.6
DRAWS = 16
EARLY = 0.5  # a best step before this share of the steps made is early


class Activity(NamedTuple):
    """How much of its latent space a network uses."""

    active: tuple[int, ...]  # active units of each member
    kl: tuple[float, ...]
    """Mean KL of each dimension in nats, a member's largest first, averaged over members; empty without a prior."""

    @property
    def collapsed(self) -> bool:
        """Whether a member uses no dimension, or all together use next to nothing; not of codes without a prior."""
        return bool(self.kl) and (min(self.active) == 0 or sum(self.kl) < LEAST_KL)


def measure_activity(network: Network, x: Matrix) -> Activity:
    """How the latent space is used over encoded rows, (n, features)."""
    with torch.no_grad():
        posterior = network.posterior(_sample(network, x))
        kl = posterior.kl_by_dimension().mean(1)
        # What is given and not inferred is a point, and no unit: it has no KL at all.
        inferred = (kl > 0) if network.has_elbo else torch.ones_like(kl, dtype=torch.bool)
        active = ((posterior.mean.var(1, correction=0) > ACTIVE) & inferred).sum(-1)
        nats = kl.sort(-1, descending=True).values.mean(0).tolist()
    return Activity(tuple(active.tolist()), tuple(round(one, 6) for one in nats if network.has_elbo))


def _sample(network: Network, x: Matrix) -> torch.Tensor:
    """At most `ROWS` of the rows, where the network is."""
    rows = np.sort(np.random.default_rng(0).permutation(len(x))[:ROWS])
    return torch.from_numpy(x[rows]).to(network.device)


class Dependence(NamedTuple):
    """The pair of columns, or pixels, that tell most about each other, by name, and how much, in nats."""

    columns: tuple[str, str]
    nats: float


def find_dependence(x: Matrix, schema: Schema) -> Dependence | None:
    """The strongest dependence between two columns, or pixels, of encoded rows, (n, features).

    None if none is significant.

    Numbers are cut into quantiles, and each pair has a G-test of independence at a level of 0.01 over all pairs. The
    mutual information is corrected for its bias, (r - 1)(c - 1) / 2n (Miller, 1955).
    """
    rng = np.random.default_rng(0)
    rows = x[np.sort(rng.permutation(len(x))[:ROWS])]
    values = [
        (schema.columns[feature.column].value_name(place), feature)
        for feature in schema.features()
        for place in range(feature.size)
    ]
    picked = np.sort(rng.permutation(len(values))[:VALUES]).tolist()
    codes = [(values[i][0], codes_of(rows[:, i], values[i][1])) for i in picked]
    pairs = [(first, other) for first, other in combinations(codes, 2) if first[0] != other[0]]
    best: Dependence | None = None
    for (name, first), (other_name, other) in pairs:
        nats, freedom = mutual_information(first, other)
        corrected = nats - freedom / (2 * len(rows))
        if corrected > (best.nats if best else LEAST):
            certain = stats.chi2.sf(2 * len(rows) * nats, freedom) * len(pairs) < SIGNIFICANCE
            if certain:
                best = Dependence((name, other_name), corrected)
    return best


def codes_of(values: Matrix, feature: Feature) -> Positions:
    """A feature's values, (n,), as few codes from 0: quantiles of numbers, the commonest levels; one for missing."""
    present = ~np.isnan(values)
    codes = np.full(len(values), BINS + 1)
    if feature.kind in ("gaussian", "pixels"):
        if present.any():
            edges = np.unique(np.quantile(values[present], np.arange(1, BINS) / BINS))
            codes[present] = np.searchsorted(edges, values[present])
    else:
        codes[present] = np.minimum(values[present].astype(np.int64), BINS)
    return np.asarray(np.unique(codes, return_inverse=True)[1], np.int64)


def mutual_information(a: Positions, b: Positions) -> tuple[float, int]:
    """Mutual information of two columns of codes from 0, (n,), in nats, and its degrees of freedom."""
    counts = np.zeros((int(a.max()) + 1, int(b.max()) + 1))
    np.add.at(counts, (a, b), 1)
    share = counts / len(a)
    alone = share.sum(1, keepdims=True) * share.sum(0, keepdims=True)
    held = share > 0
    nats = float((share[held] * np.log(share[held] / alone[held])).sum())
    return nats, (counts.shape[0] - 1) * (counts.shape[1] - 1)


class FitOutcome(NamedTuple):
    """The fit that was kept, and the remedy if the first one had collapsed."""

    network: Network
    history: list[Epoch]
    remedy: Remedy | None


def fit_or_remedy(
    x: Matrix,
    schema: Schema,
    config: FitConfig,
    seed: int,
    device: str = "cpu",
    checkpoint: Path | None = None,
    progress: FitProgress = lambda step, steps, epoch: None,
    entities: Positions | None = None,
) -> FitOutcome:
    """`fit.fit`, and once more with free bits, a longer warm-up and no more than the ELBO's KL weight if it collapsed.

    Where columns are independent a collapse is right, and nothing is done; nor of a network that is fitted without
    steps. The fits are compared by the ELBO of rows that each member did not see, with z drawn: at the posterior mean
    it is no bound, and favours free bits.
    """
    network, history = fit(x, schema, config, seed, device, checkpoint, progress, entities)
    if not history or not measure_activity(network, x).collapsed:
        return FitOutcome(network, history, None)
    strongest = find_dependence(x, schema)
    if strongest is None:
        return FitOutcome(network, history, Remedy(None))
    free_bits, warm_up = max(config.free_bits, FREE_BITS), max(config.warm_up, WARM_UP)
    gentler = msgspec.structs.replace(config, free_bits=free_bits, warm_up=warm_up, beta=min(config.kl_weight, 1.0))
    second = checkpoint.with_stem(f"{checkpoint.stem}-remedy") if checkpoint else None
    other, after = fit(x, schema, gentler, seed, device, second, progress, entities)
    elbos = (held_out_elbo(fitted, x, seed, entities) for fitted in (network, other))
    remedy = Remedy(strongest.columns, strongest.nats, *elbos)
    return FitOutcome(other, after, remedy) if remedy.helped else FitOutcome(network, history, remedy)


def held_out_elbo(network: Network, x: Matrix, seed: int, entities: Positions | None = None) -> float:
    """Mean ELBO over the members and the fitting rows, x of shape (n, features), to which each is blind; z is drawn."""
    held_out = folds(len(x), network.members, seed, entities)[1]
    size = min(HELD_OUT_ROWS, min(map(len, held_out)))
    generator = torch.Generator(network.device).manual_seed(seed)
    with torch.no_grad():
        inputs = network.inputs(torch.from_numpy(x[np.stack([part[:size] for part in held_out])]).to(network.device))
        posterior = network.encode(inputs)
        draws = [network.negative_elbo(inputs, posterior, posterior.draw(generator)).mean() for _ in range(DRAWS)]
    return -sum(map(float, draws)) / DRAWS


def remedy_in_words(remedy: Remedy) -> str:
    """What happened, and what to do if the remedy did not help, in sentences."""
    if remedy.columns is None or remedy.elbo is None or remedy.remedied_elbo is None:
        return (
            "The latent space stays as good as empty, and rightly so: no column or pixel tells anything about another "
            "that the fitting rows could prove. Records are judged by each alone."
        )
    first, second = remedy.columns
    start = f"The posterior collapsed, although {first!r} and {second!r} tell {remedy.nats:.2g} nats about each other"
    tried = f"held-out ELBO {remedy.remedied_elbo:.2f} nats, {remedy.elbo:.2f} before"
    if remedy.helped:
        return (
            f"{start}: the network was fitted again with free bits, a longer warm-up and a KL weight of at most 1, and "
            f"is better ({tried})."
        )
    return (
        f"{start}, and fitting again with free bits, a longer warm-up and a KL weight of at most 1 made it no better "
        f"({tried}): the first fit was kept. Try more fit.steps, a smaller fit.weight_decay, or the score "
        "reconstruction; and compare with the simple detectors in the report."
    )


class Tolerance(NamedTuple):
    """Figures up to which a fit is no cause for concern, in nats for each column of a table or pixel of a picture."""

    gap: float  # by so much fitting rows may be described better than new ones
    rise: float  # by so much the held-out ELBO may still rise over the last fifth of the steps


def diagnose(
    network: Network,
    history: Sequence[Epoch],
    config: FitConfig,
    fitted: Matrix,
    new: Matrix,
    remedy: Remedy | None,
    tolerance: Tolerance,
) -> Diagnosis:
    """Diagnose a fit from its history, the encoded rows that it saw and rows that it did not."""
    steps, beta = config.steps, config.kl_weight
    used = measure_activity(network, fitted)
    before, after = _elbo(network, fitted), _elbo(network, new)
    error = float(np.hypot(*(values.std() / np.sqrt(len(values)) for values in (before, after))))
    gap = float(before.mean() - after.mean())
    best = max(history, key=lambda epoch: epoch.objective(beta))
    last = history[-1].step
    earlier = [epoch.objective(beta) for epoch in history if epoch.step <= 0.8 * last]
    rise = best.objective(beta) - max(earlier, default=-np.inf)
    overfitted = gap > max(tolerance.gap * network.columns, 3 * error)
    underfitted = last >= steps and best.step > 0.9 * last and rise > tolerance.rise * network.columns
    notes = []
    if remedy and remedy.columns is not None:
        notes.append(remedy_in_words(remedy))
    if overfitted:
        early = f" (new rows were described best at step {best.step:,} of {last:,})" if best.step < EARLY * last else ""
        notes.append(
            f"The network is overfitted{early}: a fitting row has an ELBO of {before.mean():.2f} nats, a new one "
            f"{after.mean():.2f}. More rows help most; else try a smaller fit.hidden or a larger fit.weight_decay. If "
            "rows are split by time, they may also have changed since."
        )
    if underfitted:
        notes.append(
            f"The fit is not finished: the held-out ELBO was still rising at the last of {steps:,} steps. Set "
            f"fit.steps to {2 * steps:,} or more."
        )
    return Diagnosis(
        latent=network.latent,
        active_units=used.active,
        kl=used.kl,
        collapsed=used.collapsed,
        remedy=remedy,
        elbo_fit=float(before.mean()),
        elbo_new=float(after.mean()),
        gap_error=error,
        best_step=best.step,
        last_step=last,
        steps=steps,
        overfitted=overfitted,
        underfitted=underfitted,
        notes=tuple(notes),
    )


def _elbo(network: Network, x: Matrix) -> Floats:
    """The ELBO of a sample of rows, each (n,)."""
    with torch.no_grad():
        view = network.see(_sample(network, x))
    elbo: Floats = -(view.reconstruction + view.kl).double().cpu().numpy()
    return elbo
