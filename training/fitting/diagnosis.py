"""How healthy a fit is: latent dimensions in use, posterior collapse, over- and under-fitting."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from kilter.service.detector.arrays import Floats, Matrix
from kilter.service.detector.findings import Diagnosis, Epoch, Remedy
from kilter.service.detector.networks.base import Network
from kilter.training.fitting.remedy import latent_activity, remedy_in_words, row_sample

EARLY = 0.5
"""A best step before this share of the steps made is early."""


class Tolerance(NamedTuple):
    """What of a fit is no cause for concern, in nats for each column of a table or pixel of a picture."""

    gap: float
    """By so much fitting rows may be described better than new ones."""
    rise: float
    """By so much the held-out ELBO may still rise over the last fifth of the steps."""


def diagnose(
    network: Network,
    history: Sequence[Epoch],
    steps: int,
    fitted: Matrix,
    new: Matrix,
    remedy: Remedy | None,
    tolerance: Tolerance,
) -> Diagnosis:
    """Diagnose a fit from its history, at most `steps` long, the encoded rows that it saw and rows that it did not."""
    columns = network.columns
    used = latent_activity(network, fitted)
    before, after = _elbo(network, fitted), _elbo(network, new)
    error = float(np.hypot(*(values.std() / np.sqrt(len(values)) for values in (before, after))))
    gap = float(before.mean() - after.mean())
    best = max(history, key=lambda epoch: epoch.held_out_elbo)
    last = history[-1].step
    earlier = [epoch.held_out_elbo for epoch in history if epoch.step <= 0.8 * last]
    rise = best.held_out_elbo - max(earlier, default=-np.inf)
    overfitted = gap > max(tolerance.gap * columns, 3 * error)
    underfitted = last >= steps and best.step > 0.9 * last and rise > tolerance.rise * columns
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
        view = network.see(row_sample(x).to(network.device))
    elbo: Floats = -(view.reconstruction + view.kl).double().cpu().numpy()
    return elbo
