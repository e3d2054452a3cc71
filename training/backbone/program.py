"""A network of pictures and a memory of local features, without the backbone that gives those: before and after it."""

from typing import Literal

import msgspec
import torch
from torch import Tensor, nn
from torch.nn import functional

from kilter.service.detector.networks.image import ImageShape, ImageVAE
from kilter.service.detector.networks.names import ScoreName
from kilter.service.detector.networks.pixels import averaging, resize
from kilter.service.detector.networks.scored_image import MOST_CELLS

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of the red, green and blue of ImageNet's pictures, from 0 to 1, by which published networks standardise theirs."""
NEAR = 4
"""Nearest memory rows, to the digits of a float32, whose distance is taken by direct difference."""
FLOOR = 1e-6
"""Least squared distance before a logarithm; the variance of local features is 1."""


class BackboneShape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which backbone it is."""

    file: str
    sha256: str
    channels: Literal[1, 3]
    features: tuple[int, int, int]
    """Features, rows and columns of what it gives for a picture."""


class ScoredFeaturesShape(
    msgspec.Struct, frozen=True, tag="image-vae-backbone", tag_field="kind", forbid_unknown_fields=True
):
    """What is known of the program."""

    network: ImageShape
    score: ScoreName
    backbone: BackboneShape
    axes: int
    """Directions that are kept of the space of local features."""
    places: int
    """Local features in the memory."""
    grid: tuple[int, int]
    """Rows and columns of the cells of `terms`."""


def grid_of(backbone: BackboneShape) -> tuple[int, int]:
    """The grid for what a backbone gives."""
    return min(backbone.features[1], MOST_CELLS), min(backbone.features[2], MOST_CELLS)


class Prepared(nn.Module):
    """Encoded pictures as a backbone takes them, (n, channels, height, width), and as they were given, (n, width)."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, network: ImageVAE, channels: Literal[1, 3]) -> None:
        super().__init__()
        self.network = network
        self.channels = channels
        mean, deviation = torch.tensor(MEAN), torch.tensor(DEVIATION)
        if channels == 1:
            mean, deviation = mean.mean(0, keepdim=True), deviation.mean(0, keepdim=True)
        self.register_buffer("mean", mean.reshape(-1, 1, 1), persistent=False)
        self.register_buffer("deviation", deviation.reshape(-1, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        pictures = self.network.pictures(x)
        if pictures.shape[1] > self.channels:
            pictures = pictures.mean(1, keepdim=True)
        return (pictures - self.mean) / self.deviation, x.clone()


class ScoredFeatures(nn.Module):
    """Gives the outputs of a program for encoded pictures and their features from a backbone.

    The score is the logarithm of the largest squared distance of a local feature to the nearest in a memory (Roth et
    al., Towards Total Recall in Industrial Anomaly Detection, 2022); `terms` are those of all places.
    """

    rows_near: Tensor
    columns_near: Tensor
    center: Tensor
    """(features,): the mean local feature."""
    axes: Tensor
    """(features, axes): the directions that are kept, over the root of the variance of local features."""
    memory: Tensor
    """(places, axes)."""
    usual: Tensor
    """(2, 2): what is usual of the largest and of all distances, centre and scale of each."""

    def __init__(self, shape: ScoredFeaturesShape) -> None:
        super().__init__()
        self.shape = shape
        self.network = ImageVAE(shape.network)
        features, *given = shape.backbone.features
        for name, new, old in zip(("rows_near", "columns_near"), shape.grid, given, strict=True):
            self.register_buffer(name, around(new) @ averaging(new, old), persistent=False)
        self.register_buffer("center", torch.zeros(features))
        self.register_buffer("axes", torch.zeros(features, shape.axes))
        self.register_buffer("memory", torch.zeros(shape.places, shape.axes))
        self.register_buffer("usual", torch.tensor([[0.0, 1.0], [0.0, 1.0]]))

    def local(self, features: Tensor) -> Tensor:
        """What a backbone gives, (n, features, ...), averaged over the places around each: (n, places, features)."""
        return resize(features, self.rows_near, self.columns_near).flatten(2).transpose(1, 2)

    def distances(self, features: Tensor) -> Tensor:
        """Logarithms of the squared distance of each place to the nearest in the memory, (n, places)."""
        local = self.local(features)
        points = (local.reshape(-1, local.shape[2]) - self.center) @ self.axes
        rough = 0.5 * self.memory.square().sum(1) - points @ self.memory.T
        found = rough.topk(min(NEAR, self.shape.places), dim=1, largest=False).indices
        exact = (points.unsqueeze(1) - functional.embedding(found, self.memory)).square().sum(2).amin(1)
        rows, columns = self.shape.grid
        return exact.clamp(min=FLOOR).log().reshape(-1, rows * columns)

    def forward(self, x: Tensor, features: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """`score`, `reconstruction`, `kl`, `terms`, `expected` for x, (n, width), and its features."""
        distances = self.distances(features)
        (largest, spread), (usual, scale) = self.usual
        dense = self.network.dense(x)
        posterior = self.network.encode(dense)
        p = self.network.decode(posterior.mean)
        reconstruction = self.network.surprise_of(dense, p).sum(-1).squeeze(0)
        score = (distances.amax(1) - largest) / spread
        terms = (distances - usual) / scale
        return score, reconstruction, posterior.kl().squeeze(0), terms, self.network.expected(x, p)


def around(size: int) -> Tensor:
    """The matrix (size, size) that averages each place and those beside it; beyond the ends there is nothing, 0, so
    that what stands out is as much diluted there as anywhere."""
    place = torch.arange(size)
    return ((place[:, None] - place).abs() <= 1).float() / 3
