"""The figure of what each latent dimension is used for."""

from collections.abc import Sequence

import numpy as np

from kilter.training.activity import ACTIVE
from kilter.training.svg import NORMAL, canvas, render, styled


@styled
def kl_bars(kl: Sequence[float], active: Sequence[int]) -> str:
    """KL of each latent dimension in nats, largest first, averaged over members that have `active` units."""
    figure, (ax,) = canvas(2.4)
    places = np.arange(1, len(kl) + 1)
    ax.bar(places, kl, color=NORMAL, alpha=0.7, width=0.7)
    ax.set_xlim(0.4, len(kl) + 0.6)
    ax.set_ylim(0, max(*kl, ACTIVE) * 1.05)
    ax.set_xticks(places if len(kl) <= 12 else np.unique(np.linspace(1, len(kl), 8).round()))
    ax.grid(visible=False, axis="x")
    ax.set_xlabel("latent dimension, each member's largest first")
    ax.set_ylabel("KL, nats")
    units = " and ".join(map(str, active))
    return render(
        figure,
        "kl",
        f"Bars of the KL of {len(kl)} latent dimensions, {sum(kl):.3g} nats in all; {units} of them are active.",
    )
