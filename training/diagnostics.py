"""How healthy a fit is: latent dimensions in use, posterior collapse, over- and under-fitting."""

from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt
import torch

from kilter.service.detector.networks.image import ImageVAE
from kilter.training.activity import activity, sample
from kilter.training.history import Epoch
from kilter.training.networks import Network, device_of
from kilter.training.remedy import Remedy

GAP = {False: 0.1, True: 0.3}
"""Nats per column of a table, and per pixel, by which fitting rows may be described better than new ones. A pixel of a
picture without its noise is worth many nats."""
RISE = {False: 0.02, True: 0.1}
"""Nats per column, and per pixel, by which the held-out ELBO may still rise over the last fifth of the steps."""
EARLY = 0.5
"""A best step before this share of the steps made is early."""

Matrix = npt.NDArray[np.float32]


class Diagnosis(msgspec.Struct, frozen=True):
    """The figures, ELBOs and KL in nats per record, and what they mean."""

    latent: int
    active_units: tuple[int, ...]
    kl: tuple[float, ...]
    """Per dimension, a member's largest first, averaged over members."""
    collapsed: bool
    """Whether the latent space says next to nothing. Where columns are independent that is no fault."""
    remedy: Remedy | None
    """What was done about a collapse; None if there was none."""
    elbo_fit: float
    elbo_new: float
    """Mean ELBO of fitting rows and of rows that the network never saw."""
    gap_error: float
    """Standard error of the difference between the two."""
    best_step: int
    last_step: int
    steps: int
    """The most steps that were allowed."""
    overfitted: bool
    underfitted: bool
    notes: tuple[str, ...]
    """What needs attention, each a sentence with what to do about it."""


def diagnose(
    network: Network, history: Sequence[Epoch], steps: int, fitted: Matrix, new: Matrix, remedy: Remedy | None
) -> Diagnosis:
    """Diagnose a fit from its history, at most `steps` long, the encoded rows that it saw and rows that it did not."""
    columns, pictures = network.shape.columns, isinstance(network, ImageVAE)
    used = activity(network, fitted)
    before, after = _elbo(network, fitted), _elbo(network, new)
    error = float(np.hypot(*(values.std() / np.sqrt(len(values)) for values in (before, after))))
    gap = float(before.mean() - after.mean())
    best = max(history, key=lambda epoch: epoch.held_out_elbo)
    last = history[-1].step
    earlier = [epoch.held_out_elbo for epoch in history if epoch.step <= 0.8 * last]
    rise = best.held_out_elbo - max(earlier, default=-np.inf)
    overfitted = gap > max(GAP[pictures] * columns, 3 * error)
    underfitted = last >= steps and best.step > 0.9 * last and rise > RISE[pictures] * columns
    notes = []
    if remedy and not remedy.needless:
        notes.append(remedy.sentence)
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
        latent=network.shape.latent,
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


def _elbo(network: Network, x: Matrix) -> npt.NDArray[np.float64]:
    """The ELBO of a sample of rows, each (n,)."""
    with torch.no_grad():
        reconstruction, kl, *_ = network(sample(x).to(device_of(network)))
    elbo: npt.NDArray[np.float64] = -(reconstruction + kl).double().cpu().numpy()
    return elbo
