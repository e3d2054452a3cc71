"""A tabular network together with its score: the program that is exported, calibrated and served."""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec
import torch
from torch import Tensor, nn
from torch.nn import functional

from service.detector.errors import ArtifactError
from service.detector.networks.geometry import Geometry, GeometryShape
from service.detector.networks.marginals import Marginals, MarginalsShape
from service.detector.networks.memory import Memory, MemoryShape
from service.detector.networks.names import ScoreName
from service.detector.networks.tabular import Likelihood, Posterior, TabularShape, TabularVAE

LOCAL_WEIGHT = 8.0
LOCAL_THRESHOLD = 1.3
LOCAL_SHARPNESS = 3.0
MIXED_MARGIN = 0.5
"""In a mixed table the local evidence may exceed the core by no more than this."""


class NeighboursShape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What rebuilds the score `neighbours`."""

    geometry: GeometryShape
    memory: MemoryShape
    marginals: MarginalsShape
    whitening: Literal["full", "diagonal", "none"]
    """How residuals become coordinates; not at all in a mixed table, nor in a wide one."""
    mixed: bool
    """Whether some columns are categorical: how far two levels lie apart is then a convention."""
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
    of the mean of their exponentials. Local L: how far it is from the memory's rows and their tangent planes. The score
    is C + 8 softplus(3 (L - 1.3)) / 3, so that anomalies hidden among the training rows, which spoil L, leave the
    ranking to C, and an L beyond what is usual decides by itself.

    In a mixed table residuals are left out of the space, the core is the distance and the negative ELBO, which knows
    the likelihood of levels, and L exceeds it by no more than a margin. In a wide table L alone, in the space of values
    alone, is the score.
    """

    elbo_center: Tensor
    elbo_scale: Tensor
    latent_weight: Tensor
    whitening: Tensor

    def __init__(self, network: TabularShape, shape: NeighboursShape) -> None:
        super().__init__()
        self.geometry = Geometry(shape.geometry, network.columns, len(network.where("level")))
        self.memory = Memory(shape.memory)
        self.marginals = Marginals(shape.marginals)
        self.shape = shape
        size = {"full": (shape.geometry.dense,) * 2, "diagonal": (shape.geometry.dense,), "none": ()}[shape.whitening]
        self.register_buffer("elbo_center", torch.zeros(()))
        self.register_buffer("elbo_scale", torch.ones(()))
        self.register_buffer("latent_weight", torch.ones(()))
        self.register_buffer("whitening", torch.zeros(size))

    def embed(self, network: TabularVAE, x: Tensor, posterior: Posterior, p: Likelihood) -> Tensor:
        """The point of each record, (n, axes): its values, the members' posterior means and the whitened residual."""
        points: Tensor
        points, residual = self.geometry(network, x, p)
        if self.shape.wide:
            return points
        parts = [points, posterior.joined() * self.latent_weight]
        if self.shape.whitening != "none":
            full = self.shape.whitening == "full"
            parts.append(residual @ self.whitening if full else residual * self.whitening)
        return torch.cat(parts, dim=-1)

    def forward(self, network: TabularVAE, x: Tensor, posterior: Posterior, p: Likelihood, elbo: Tensor) -> Tensor:
        """The score, (n,); `elbo`, (n,), is in nats."""
        evidence: Tensor = self.memory(self.embed(network, x, posterior, p))
        local = evidence[:, :1]
        if self.shape.wide:
            return local.squeeze(1)
        if self.shape.mixed:
            surprise = (-elbo.unsqueeze(1) - self.elbo_center) / self.elbo_scale
            robust = (evidence[:, 1:2] + surprise.sign() * surprise.abs().log1p()) / 2
            local = torch.minimum(local, robust + MIXED_MARGIN)
        else:
            parts = torch.cat([evidence[:, 1:], self.marginals(x)], dim=1)
            most = parts.amax(1, keepdim=True)
            robust = most + (parts - most).exp().mean(1, keepdim=True).log()
        excess = functional.softplus(LOCAL_SHARPNESS * (local - LOCAL_THRESHOLD))
        score: Tensor = robust + LOCAL_WEIGHT / LOCAL_SHARPNESS * excess
        return score.squeeze(1)


class ScoredTabular(nn.Module):
    """Gives the outputs of a program (`service.detector.runtime`) for encoded records."""

    usual: Tensor
    """(columns,): each column's usual term, its median over fitting rows."""

    def __init__(self, shape: ScoredShape) -> None:
        super().__init__()
        self.shape = shape
        self.network = TabularVAE(shape.network)
        self.neighbours = Neighbours(shape.network, shape.neighbours) if shape.neighbours else None
        self.register_buffer("usual", torch.zeros(shape.network.columns))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """`score`, `reconstruction`, `kl`, `terms`, `expected` for x, (n, features)."""
        network = self.network
        posterior, p = network.infer(x)
        terms = network.column_terms(x, network.surprise(x, p)).mean(0)
        reconstruction, kl = terms.sum(-1), posterior.kl().mean(0)
        if self.neighbours is not None:
            score = self.neighbours(network, x, posterior, p, -(reconstruction + kl))
        else:
            score = reconstruction + kl if self.shape.score == "elbo" else reconstruction
        return score, reconstruction, kl, terms - self.usual, network.expected(p)


def from_manifest(network: Mapping[str, Any]) -> nn.Module:
    """The program of a manifest's entry. Raises ArtifactError if the entry does not fit."""
    try:
        return ScoredTabular(msgspec.convert(network, ScoredShape))
    except msgspec.ValidationError as error:
        raise ArtifactError(f"the network of the manifest: {error}") from None
