"""The negative ELBO as a score, and its first term alone."""

from typing import Any, Self

import msgspec
import torch
from torch import Tensor

from kilter.service.detector.networks.base import Network, View
from kilter.service.detector.scores.base import AnomalyScore, Material


class ElboShape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Empty: the network alone rebuilds the score."""


class Elbo(AnomalyScore):
    """Reconstruction and KL, in nats; what speaks against a record is the network's own evidence."""

    shape_type = ElboShape

    def __init__(self, network: Network, shape: ElboShape) -> None:
        super().__init__()
        self.shape = shape
        self.evidence = network.evidence()
        self.grid = self.evidence.grid

    @classmethod
    @torch.no_grad()
    def fit(cls, network: Network, material: Material) -> tuple[Self, None]:
        score = cls(network, ElboShape())
        score.evidence.fit(network, material.x, material.blind[0])
        return score, None

    def forward(self, network: Any, x: Tensor, view: View, other: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.value(view), self.evidence(network, x, view)

    def value(self, view: View) -> Tensor:
        """The score of records, (n,), by a network's view of them."""
        return view.reconstruction + view.kl


class Reconstruction(Elbo):
    """The first term alone: how badly a record is described, whatever the code that describes it costs."""

    def value(self, view: View) -> Tensor:
        return view.reconstruction
