"""The score of the detector `gmm`: how improbable a record is under a mixture of Gaussians."""

import math
from typing import Self

import msgspec
import torch
from torch import Tensor, nn

from kilter.service.detector.networks.base import HALF_LOG_TWO_PI
from kilter.service.detector.networks.linear import LEAST_NOISE, LinearVAE, principal
from kilter.service.detector.scores.base import Material
from kilter.service.detector.scores.vectors import VectorScore, VectorsShape, fit_vectors

MOST_AXES = 128  # principal axes in which components have covariances of their own; along all others noise is the same


class DensityShape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The sizes of the score."""

    vectors: VectorsShape
    components: int
    axes: int


class MixtureDensity(VectorScore):
    """-log of the density of a mixture of Gaussians with full covariances, in nats.

    What no fitting row has costs log(n + 2) nats each, n being their number: the rule of succession. Where there are
    more than 128 axes the mixture is in so many principal ones, and the distance from these has equal Gaussian noise.
    """

    shape_type = DensityShape
    shape: DensityShape

    def __init__(self, network: LinearVAE, shape: DensityShape) -> None:
        super().__init__(network, shape.vectors)
        self.shape = shape
        axes = self.vectors.axes
        self.center = nn.Buffer(torch.zeros(axes))
        self.directions = nn.Buffer(torch.zeros(axes, shape.axes))  # orthonormal
        self.root = nn.Buffer(torch.zeros(shape.axes, shape.components * shape.axes))
        self.mean = nn.Buffer(torch.zeros(shape.components * shape.axes))  # after the roots
        self.constant = nn.Buffer(torch.zeros(shape.components))  # logarithm of weight and of normalisation
        self.noise = nn.Buffer(torch.ones(()))
        self.novelty = nn.Buffer(torch.zeros(()))

    @classmethod
    @torch.no_grad()
    def fit(cls, network: LinearVAE, material: Material) -> tuple[Self, None]:
        """Raises TypeError without what fits a mixture."""
        if material.density is None:
            raise TypeError("the detector 'gmm' is fitted with what fits mixtures")
        vectors = fit_vectors(network, material)
        points = cls.points(network, vectors, material.x).double()
        axes = min(points.shape[1], MOST_AXES)
        center, directions = torch.zeros(points.shape[1]), torch.eye(points.shape[1])
        noise = torch.ones(())
        if axes < points.shape[1]:
            center = points.mean(0)
            variances, directions = principal(torch.cov(points.T))
            noise = variances[axes:].mean().clamp(min=LEAST_NOISE)
        directions = directions[:, :axes]
        drawn = ((points - center) @ directions.double()).numpy()
        weights, means, roots = map(torch.from_numpy, material.density(drawn, LEAST_NOISE, material.seed))
        score = cls(network, DensityShape(vectors.shape, len(weights), axes))
        score.center.copy_(center)
        score.directions.copy_(directions)
        score.root.copy_(roots.permute(1, 0, 2).flatten(1))
        score.mean.copy_((means.unsqueeze(1) @ roots).flatten())
        beyond = points.shape[1] - axes
        score.constant.copy_(
            weights.log()
            + roots.diagonal(dim1=1, dim2=2).log().sum(1)
            - points.shape[1] * HALF_LOG_TWO_PI
            - 0.5 * beyond * noise.log()
        )
        score.noise.copy_(noise)
        score.novelty.fill_(math.log(material.schema.rows + 2))
        return score.adopt(network, vectors, material), None

    def value(self, points: Tensor, novelties: Tensor, other: Tensor | None) -> Tensor:
        centred = points - self.center
        inner = centred @ self.directions if self.shape.axes < self.vectors.axes else centred
        standard = (inner @ self.root - self.mean).reshape(-1, self.shape.components, self.shape.axes)
        density = self.constant - 0.5 * standard.square().sum(2)
        surprise = self.novelty * novelties - torch.logsumexp(density, dim=1, keepdim=True)
        if self.shape.axes == self.vectors.axes:
            return surprise
        rest = centred - inner @ self.directions.T
        return surprise + 0.5 * rest.square().sum(1, keepdim=True) / self.noise
