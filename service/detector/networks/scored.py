"""A tabular network together with its score: the program that is exported, calibrated and served."""

from collections.abc import Mapping
from typing import Any

import msgspec
import torch
from torch import Tensor, nn
from torch.nn import functional

from kilter.service.detector.errors import ArtifactError
from kilter.service.detector.networks.geometry import Geometry, GeometryShape
from kilter.service.detector.networks.marginals import Marginals, MarginalsShape
from kilter.service.detector.networks.memory import Memory, MemoryShape
from kilter.service.detector.networks.names import ScoreName
from kilter.service.detector.networks.tabular import Likelihood, Posterior, TabularShape, TabularVAE

LOCAL_WEIGHT = 8.0
LOCAL_THRESHOLD = 0.97
LOCAL_SHARPNESS = 3.0
CORE_SHARE = 0.3
"""What the core says counts so much towards the threshold of the local evidence."""
MIXED_MARGIN = 0.35
"""In a mixed table the local evidence may exceed the core by no more than this."""


class NeighboursShape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What rebuilds the score `neighbours`."""

    geometry: GeometryShape
    memory: MemoryShape
    marginals: MarginalsShape | None
    """None where columns are categorical: how far two levels lie apart is then a convention, and the ELBO serves
    instead; and in a wide table."""
    wide: bool
    """Whether there are no more rows than features: a network then knows little of how records vary, and all are about
    as far from each other."""


class ScoredShape(msgspec.Struct, frozen=True, tag="tabular-vae", tag_field="kind", forbid_unknown_fields=True):
    """What rebuilds the program."""

    network: TabularShape
    score: ScoreName
    neighbours: NeighboursShape | None = None


class Neighbours(nn.Module):
    """The default score: a robust core, and local evidence that decides the top of the ranking.

    Records are points in a space of their values, their posterior means and the residuals of their reconstruction.
    Core C: how far a point is from the rows that nothing speaks against, and how rare its values are, as the logarithm
    of the sum of their exponentials. Local L: how far it is from the nearest of the memory's rows, for how far that is
    from its own neighbours, and from its tangent plane. The score is C + 8 softplus(3 (L - 0.3 C - 0.97)) / 3, so that
    anomalies hidden among the training rows, which spoil L, leave the ranking to C, and an L beyond what is usual, and
    beyond what C has said already, decides by itself.

    In a mixed table residuals are left out of the space, the core is the distance and the negative ELBO, which knows
    the likelihood of levels, and L exceeds it by no more than a margin. In a wide table L alone, in the space of values
    alone, is the score.
    """

    elbo_center: Tensor
    elbo_scale: Tensor

    def __init__(self, network: TabularShape, shape: NeighboursShape) -> None:
        super().__init__()
        self.shape = shape
        self.geometry = Geometry(shape.geometry, network)
        self.memory = Memory(shape.memory)
        self.marginals = Marginals(shape.marginals) if shape.marginals else None
        self.register_buffer("elbo_center", torch.zeros(()))
        self.register_buffer("elbo_scale", torch.ones(()))

    def forward(
        self,
        network: TabularVAE,
        x: Tensor,
        posterior: Posterior,
        p: Likelihood,
        elbo: Tensor,
        own: Tensor | None = None,
    ) -> Tensor:
        """The score, (n,); `elbo`, (n,), is in nats.

        `own`, (n,), is the memory's row that each record is itself, which is left out, or -1.
        """
        local, core = torch.split(self.memory(self.geometry(network, x, posterior, p), own), [1, 2], dim=1)
        if self.shape.wide:
            return local.squeeze(1)
        if self.marginals is not None:
            robust = torch.logsumexp(torch.cat([core, self.marginals(x)], dim=1), dim=1, keepdim=True)
        else:
            surprise = (-elbo.unsqueeze(1) - self.elbo_center) / self.elbo_scale
            robust = (core[:, :1] + surprise.sign() * surprise.abs().log1p()) / 2
            local = torch.minimum(local, robust + MIXED_MARGIN)
        excess = functional.softplus(LOCAL_SHARPNESS * (local - CORE_SHARE * robust - LOCAL_THRESHOLD))
        score: Tensor = robust + LOCAL_WEIGHT / LOCAL_SHARPNESS * excess
        return score.squeeze(1)


def _index(program: "ScoredTabular", _: object) -> None:
    program.index()


class ScoredTabular(nn.Module):
    """Gives the outputs of a program (`detector.runtime`) for encoded records."""

    usual: Tensor
    """(columns,): each column's usual term, its median over fitting rows."""

    def __init__(self, shape: ScoredShape) -> None:
        super().__init__()
        self.shape = shape
        self.network = TabularVAE(shape.network)
        self.neighbours = Neighbours(shape.network, shape.neighbours) if shape.neighbours else None
        self.register_buffer("usual", torch.zeros(shape.network.columns))
        self.register_load_state_dict_post_hook(_index)  # type: ignore[no-untyped-call]

    def index(self) -> None:
        """Prepare what depends on the network's weights, once they are what they are to be."""
        if self.neighbours is not None and self.neighbours.geometry.joined is not None:
            self.neighbours.geometry.joined.index(self.network)

    def forward(self, x: Tensor, own: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """`score`, `reconstruction`, `kl`, `terms`, `expected` for x, (n, features); `own` as of `Neighbours`."""
        network = self.network
        posterior, p = network.infer(x)
        terms = network.column_terms(x, network.surprise(x, p)).mean(0)
        reconstruction, kl = terms.sum(-1), posterior.kl().mean(0)
        if self.neighbours is not None:
            score = self.neighbours(network, x, posterior, p, -(reconstruction + kl), own)
        else:
            score = reconstruction + kl if self.shape.score == "elbo" else reconstruction
        return score, reconstruction, kl, terms - self.usual, network.expected(p)


def from_manifest(network: Mapping[str, Any]) -> nn.Module:
    """The program of a manifest's entry. Raises ArtifactError if the entry does not fit."""
    try:
        return ScoredTabular(msgspec.convert(network, ScoredShape))
    except msgspec.ValidationError as error:
        raise ArtifactError(f"the network of the manifest: {error}") from None
