"""The score of the detector `pca`: how far a record is from the subspace in which normal rows vary."""

from typing import Self

import msgspec
import torch
from torch import Tensor, nn

from kilter.service.detector.errors import KilterError
from kilter.service.detector.networks.linear import LinearVAE, principal, subspace_size
from kilter.service.detector.scores.base import Material
from kilter.service.detector.scores.vectors import NOVELTY, Vectors, VectorScore, VectorsShape, fit_vectors


class SubspaceShape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The sizes of the score."""

    vectors: VectorsShape
    dimensions: int  # of the subspace


class PrincipalSubspace(VectorScore):
    """The distance to the principal subspace that holds 95 % of the variance, all axes that are free but one at most.

    The levels of a column are not free: one of them is 1 in every record.
    """

    shape_type = SubspaceShape
    shape: SubspaceShape

    def __init__(self, network: LinearVAE, shape: SubspaceShape) -> None:
        super().__init__(network, shape.vectors)
        self.shape = shape
        self.center = nn.Buffer(torch.zeros(self.vectors.axes))
        self.directions = nn.Buffer(torch.zeros(self.vectors.axes, shape.dimensions))

    @classmethod
    @torch.no_grad()
    def fit(cls, network: LinearVAE, material: Material) -> tuple[Self, None]:
        """Raises KilterError for a table whose fitting rows vary along one axis alone."""
        vectors = fit_vectors(network, material)
        free = vectors.axes - bound_axes(network, vectors)
        if free < 2:
            raise KilterError(
                "the detector pca finds what breaks the relation between columns, and only one feature varies in the "
                "fitting rows: take --detector nearest or vae"
            )
        points = cls.points(network, vectors, material.x).double()
        variances, axes = principal(torch.cov(points.T, correction=1))
        dimensions = min(subspace_size(variances), free - 1)
        score = cls(network, SubspaceShape(vectors.shape, dimensions))
        score.center.copy_(points.mean(0))
        score.directions.copy_(axes[:, :dimensions])
        return score.adopt(network, vectors, material), None

    def value(self, points: Tensor, novelties: Tensor, other: Tensor | None) -> Tensor:
        centred = points - self.center
        rest = centred - (centred @ self.directions) @ self.directions.T
        return (rest.square().sum(1, keepdim=True) + NOVELTY * novelties).sqrt()


def bound_axes(network: LinearVAE, vectors: Vectors) -> int:
    """How many axes are bound to others: one of each column of levels that vary."""
    slots = torch.tensor(vectors.shape.varying) - (len(network.dense_feature) - len(network.slot_code))
    return int(network.slot_group[slots[slots >= 0]].amax(0).sum()) if (slots >= 0).any() else 0
