"""What a network's latent space is used for."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from kilter.training.networks import Network, device_of

ROWS = 4_000
"""Most rows on which a figure is taken."""
ACTIVE = 0.01
"""A unit is active if the variance of its posterior mean over rows is above this (Burda et al., 2016)."""
LEAST_KL = 0.05
"""Nats per record below which the latent space as a whole says next to nothing."""

Matrix = npt.NDArray[np.float32]


class Activity(NamedTuple):
    """What a network's latent space is used for."""

    active: tuple[int, ...]
    """Active units of each member."""
    kl: tuple[float, ...]
    """Mean KL of each dimension in nats, a member's largest first, averaged over members."""

    @property
    def collapsed(self) -> bool:
        """Whether a member uses no dimension, or all together use next to nothing."""
        return min(self.active) == 0 or sum(self.kl) < LEAST_KL


def activity(network: Network, x: Matrix) -> Activity:
    """How the latent space is used over encoded rows, (n, features)."""
    rows = sample(x).to(device_of(network))
    with torch.no_grad():
        posterior = network.posterior(rows)
        active = (posterior.mean.var(1, correction=0) > ACTIVE).sum(-1)
        kl = posterior.kl_by_dimension().mean(1).sort(-1, descending=True).values.mean(0)
    return Activity(tuple(active.tolist()), tuple(round(nats, 6) for nats in kl.tolist()))


def sample(x: Matrix) -> torch.Tensor:
    """At most `ROWS` of the rows, as a tensor."""
    return torch.from_numpy(x[np.sort(np.random.default_rng(0).permutation(len(x))[:ROWS])])
