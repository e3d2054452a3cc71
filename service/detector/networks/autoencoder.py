"""Plain autoencoders: a record's code is a point, and no prior holds it (Hinton and Salakhutdinov, 2006)."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from kilter.service.detector.networks.base import Network, PointPosterior, Posterior
from kilter.service.detector.networks.pictures import PictureVAE
from kilter.service.detector.networks.tabular import TabularVAE

MOST_ROWS = 20_000  # fitting rows to whose codes a Gaussian is fitted
LEAST_VARIANCE = 1e-6  # added along each axis, relative to the mean variance, so that a covariance has a root


class Autoencoder(Network):
    """A network whose encoder gives a point. Draws come from a Gaussian that is fitted to codes after the last step."""

    code_numbers = 1
    has_elbo = standard_prior = False

    def __init__(self, shape: Any) -> None:
        super().__init__(shape)
        self.code_mean = nn.Buffer(torch.zeros(self.members, 1, self.latent))
        self.code_root = nn.Buffer(torch.eye(self.latent).repeat(self.members, 1, 1))

    def posterior_of(self, numbers: Sequence[Tensor]) -> Posterior:
        (mean,) = numbers
        return PointPosterior(mean, torch.full_like(mean, -torch.inf))

    @torch.no_grad()
    def finish(self, x: Tensor) -> None:
        codes = self.posterior(x[:MOST_ROWS]).mean.double()
        mean = codes.mean(1, keepdim=True)
        offset = codes - mean
        covariance = offset.transpose(1, 2) @ offset / codes.shape[1]
        variance = covariance.diagonal(dim1=1, dim2=2).mean(-1)[:, None, None].clamp(min=1e-12)
        covariance += LEAST_VARIANCE * variance * torch.eye(self.latent, dtype=torch.float64, device=x.device)
        self.code_mean.copy_(mean)
        self.code_root.copy_(torch.linalg.cholesky(covariance))

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Draws from the Gaussian fitted to codes, (members, count, latent)."""
        return self.code_mean + super().sample(count, generator) @ self.code_root.transpose(1, 2)


class TabularAutoencoder(Autoencoder, TabularVAE):
    """Of tables; no part of a record is hidden while it is fitted."""

    def shown(self, inputs: Tensor, generator: torch.Generator) -> Posterior:
        return self.encode(inputs)


class PictureAutoencoder(Autoencoder, PictureVAE):
    """Of pictures."""
