"""A network whose likelihood is known in closed form."""

from typing import Self, cast

import msgspec
import torch
from torch import Tensor, nn

from kilter.service.detector.columns import Feature
from kilter.service.detector.networks.base import HALF_LOG_TWO_PI, Posterior, Sizes
from kilter.service.detector.networks.tabular import TableNetwork
from kilter.service.detector.schema import Schema


class LinearShape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What rebuilds a `LinearVAE`."""

    features: tuple[Feature, ...]
    columns: int
    latent: int


class LinearVAE(TableNetwork):
    """A linear Gaussian autoencoder of numbers: probabilistic principal components (Tipping and Bishop, 1999)."""

    shape_type = LinearShape
    batch_rows = 64
    members = 1
    shape: LinearShape

    def __init__(self, shape: LinearShape) -> None:
        super().__init__(shape.features, shape.columns)
        self.shape = shape
        self.latent = shape.latent
        self.encoder, self.decoder = nn.Linear(self.values, self.latent), nn.Linear(self.latent, self.values)
        self.log_variance, self.log_sigma = nn.Parameter(torch.zeros(self.latent)), nn.Parameter(torch.zeros(()))

    @classmethod
    def untrained(cls, schema: Schema, sizes: Sizes) -> Self:
        return cls(LinearShape(schema.features(), len(schema.columns), sizes.latent or 2))

    def encode(self, inputs: Tensor) -> Posterior:
        mean = self.encoder(self.dense(inputs))
        mean = mean if mean.dim() == 3 else mean.unsqueeze(0)
        return Posterior(mean, self.log_variance.expand_as(mean))

    def decode(self, z: Tensor) -> Tensor:
        return cast("Tensor", self.decoder(z))

    def surprise(self, inputs: Tensor, likelihood: Tensor) -> Tensor:
        standard = (self.dense(inputs) - likelihood) * (-self.log_sigma).exp()
        return 0.5 * standard.square() + self.log_sigma + HALF_LOG_TWO_PI

    def expected(self, x: Tensor, likelihood: Tensor) -> Tensor:
        return likelihood.mean(0)

    def expected_dense(self, likelihood: Tensor) -> Tensor:
        return likelihood.mean(0)
