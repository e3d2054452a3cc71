"""A tabular network together with its score: the program that is exported, calibrated and served."""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec
import torch
from torch import Tensor, nn

from service.detector.errors import ArtifactError
from service.detector.networks.tabular import TabularShape, TabularVAE

ScoreName = Literal["elbo", "reconstruction"]


class ScoredShape(msgspec.Struct, frozen=True, tag="tabular-vae", tag_field="kind", forbid_unknown_fields=True):
    """What rebuilds the program."""

    network: TabularShape
    score: ScoreName


class ScoredTabular(nn.Module):
    """Gives the outputs of a program (`service.detector.runtime`) for encoded records."""

    usual: Tensor
    """(columns,): each column's usual term, its median over records that the network did not see."""

    def __init__(self, shape: ScoredShape) -> None:
        super().__init__()
        self.shape = shape
        self.network = TabularVAE(shape.network)
        self.register_buffer("usual", torch.zeros(shape.network.columns))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """`score`, `reconstruction`, `kl`, `terms`, `expected` for x, (n, features)."""
        reconstruction, kl, terms, expected = self.network(x)
        score = reconstruction + kl if self.shape.score == "elbo" else reconstruction
        return score, reconstruction, kl, terms - self.usual, expected


def from_manifest(network: Mapping[str, Any]) -> nn.Module:
    """The program of a manifest's entry. Raises ArtifactError if the entry does not fit."""
    try:
        return ScoredTabular(msgspec.convert(network, ScoredShape))
    except msgspec.ValidationError as error:
        raise ArtifactError(f"the network of the manifest: {error}") from None
