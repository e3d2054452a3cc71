"""The negative ELBO as a score, and its first term alone."""

from typing import Any, Self

import msgspec
import torch
from torch import Tensor

from kilter.service.detector.networks.base import Network, View
from kilter.service.detector.scores.base import Material, Score


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The shape of a score that has none."""


class Elbo(Score):
    """Reconstruction and KL, in nats; what speaks against a record is the network's own evidence."""

    shape_type = Nothing

    def __init__(self, network: Network, shape: Nothing) -> None:
        super().__init__()
        self.shape = shape
        self.evidence = network.evidence()

    @classmethod
    @torch.no_grad()
    def fit(cls, network: Network, material: Material) -> tuple[Self, None]:
        score = cls(network, Nothing())
        score.evidence.fit(network, material.x, material.blind[0])
        return score, None

    @property
    def grid(self) -> tuple[int, int] | None:
        return self.evidence.grid

    def forward(self, network: Any, x: Tensor, view: View, other: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.value(view), self.evidence(network, x, view)

    def value(self, view: View) -> Tensor:
        """The score, (n,), of what the network makes of records."""
        return view.reconstruction + view.kl


class Reconstruction(Elbo):
    """The first term alone: how badly a record is described, whatever the code that describes it costs."""

    def value(self, view: View) -> Tensor:
        return view.reconstruction
