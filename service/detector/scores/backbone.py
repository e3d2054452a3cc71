"""The score of pictures by the local features of a pretrained network, a backbone, that the user has."""

from collections.abc import Iterator
from typing import Any, Literal, Self

import msgspec
import torch
from torch import Tensor, nn
from torch.nn import functional

from kilter.service.detector.manifest import MemoryEntry
from kilter.service.detector.networks.base import View
from kilter.service.detector.networks.pictures import PictureVAE
from kilter.service.detector.networks.pixels import averaging, in_parts, resize
from kilter.service.detector.networks.places import HELD, MOST_SIDE_CELLS
from kilter.service.detector.networks.points import principal_axes, robust
from kilter.service.detector.scores.base import Material, PretrainedNetwork, Score

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of the red, green and blue of ImageNet's pictures, from 0 to 1, by which published networks standardise theirs."""
NEAR = 4
"""Nearest memory rows, to the digits of a float32, whose distance is taken by direct difference."""
FLOOR = 1e-6
"""Least squared distance before a logarithm; the variance of local features is 1."""
MEMORY_ROWS = 2048
"""Most local features that a memory holds, if it is not said."""
MOST_AXES = 64
FLOATS = 512 * 1024
"""Most numbers that a memory of local features holds."""
MOST_PLACES = 65_536
"""Local features from which the memory is chosen."""
MOST_DRAWN = 64 * 1024 * 1024
"""Most numbers of them."""
MOST_PICTURES = 10_000
"""Pictures from which those are drawn."""
CHUNK_VALUES = 65_536
"""Values of encoded pictures whose features are taken together."""


class BackboneInput(nn.Module):
    """Encoded pictures as a backbone takes them, (n, channels, height, width), and as they were given, (n, width)."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, network: Any, channels: int) -> None:
        """Of a `PictureVAE`."""
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


class BackboneShape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is known of the score and its backbone."""

    channels: Literal[1, 3]
    features: tuple[int, int, int]
    """Features, rows and columns of what the backbone gives for a picture."""
    axes: int
    """Directions that are kept of the space of local features."""
    places: int
    """Local features in the memory."""

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the places that are told apart."""
        return min(self.features[1], MOST_SIDE_CELLS), min(self.features[2], MOST_SIDE_CELLS)


class BackboneNeighbours(Score):
    """The logarithm of the largest squared distance of a local feature to the nearest in a memory.

    After Roth et al., Towards Total Recall in Industrial Anomaly Detection, 2022; the terms are those of all places.
    """

    shape_type = BackboneShape
    shape: BackboneShape
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

    def __init__(self, network: PictureVAE, shape: BackboneShape) -> None:
        super().__init__()
        self.shape = shape
        features, *given = shape.features
        for name, new, old in zip(("rows_near", "columns_near"), shape.grid, given, strict=True):
            self.register_buffer(name, around(new) @ averaging(new, old), persistent=False)
        self.register_buffer("center", torch.zeros(features))
        self.register_buffer("axes", torch.zeros(features, shape.axes))
        self.register_buffer("memory", torch.zeros(shape.places, shape.axes))
        self.register_buffer("usual", torch.tensor([[0.0, 1.0], [0.0, 1.0]]))

    @classmethod
    @torch.no_grad()
    def fit(cls, network: PictureVAE, material: Material) -> tuple[Self, None]:
        """What is usual is learned on pictures that the memory does not know.

        Raises KilterError if the backbone cannot be run on them, and TypeError if there is none.
        """
        backbone = material.backbone
        if backbone is None:
            raise TypeError("the score of a backbone's features is fitted with a backbone")
        generator = torch.Generator().manual_seed(material.seed)
        channels: Literal[1, 3] = 1 if backbone.channels == 1 else 3
        features = backbone.shape(network.shape.height, network.shape.width)
        prepared = BackboneInput(network, channels).eval()
        empty = cls(network, BackboneShape(channels, features, 1, 0))
        new = material.x[material.blind[0][:HELD]]
        drawn = _drawn(empty, backbone, prepared, material.x[material.seen[0][:MOST_PICTURES]], generator)
        center, axes = standard_axes(drawn, MOST_AXES)
        points = (drawn - center) @ axes
        most = min(material.memory_rows or MEMORY_ROWS, FLOATS // axes.shape[1])
        memory = points[coreset(points, most, generator)]
        score = cls(network, BackboneShape(channels, features, axes.shape[1], len(memory)))
        score.center.copy_(center)
        score.axes.copy_(axes)
        score.memory.copy_(memory)
        distances = torch.cat([score.distances(part) for part in _features(backbone, prepared, new)])
        for i, values in enumerate((distances.amax(1), distances.flatten()[:: 1 + distances.numel() // 1_000_000])):
            score.usual[i] = torch.stack(robust(values))
        return score.eval(), None

    @property
    def grid(self) -> tuple[int, int]:
        return self.shape.grid

    @property
    def memory_entry(self) -> MemoryEntry:
        return MemoryEntry(self.shape.places, "local features of training pictures, as a pretrained network gives them")

    def local(self, features: Tensor) -> Tensor:
        """What a backbone gives, (n, features, ...), averaged over the places around each: (n, places, features)."""
        return resize(features, self.rows_near, self.columns_near).flatten(2).transpose(1, 2)

    def distances(self, features: Tensor) -> Tensor:
        """Logarithms of the squared distance of each place to the nearest in the memory, (n, places)."""
        local = self.local(features)
        points = (local.reshape(-1, local.shape[2]) - self.center) @ self.axes
        rough = 0.5 * self.memory.square().sum(1) - points @ self.memory.T
        nearest = rough.topk(min(NEAR, self.shape.places), dim=1, largest=False).indices
        exact = (points.unsqueeze(1) - functional.embedding(nearest, self.memory)).square().sum(2).amin(1)
        rows, columns = self.shape.grid
        return exact.clamp(min=FLOOR).log().reshape(-1, rows * columns)

    def forward(self, network: Any, x: Tensor, view: View, other: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """`other` are the backbone's features of the pictures, (n, features, rows, columns)."""
        assert other is not None  # noqa: S101 (every program of this score is given them)
        distances = self.distances(other)
        (largest, spread), (usual, scale) = self.usual
        return (distances.amax(1) - largest) / spread, (distances - usual) / scale


def standard_axes(points: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """The mean of points (n, k), and up to `most` directions in which they vary most, (k, axes), over the root of
    their variance in all."""
    center = points.mean(0)
    variance = (points - center).square().sum(1).double().mean()
    return center, principal_axes(points, most) / variance.clamp(min=1e-12).sqrt().float()


def coreset(points: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Positions of `size` of the points (n, k), each the farthest from those before it (Gonzalez, 1985)."""
    if len(points) <= size:
        return torch.arange(len(points))
    chosen = torch.empty(size, dtype=torch.long)
    chosen[0] = torch.randint(len(points), (), generator=generator)
    square = points.square().sum(1)
    nearest = torch.full((len(points),), torch.inf)
    for i in range(size):
        last = chosen[i]
        nearest = torch.minimum(nearest, square + square[last] - 2 * points @ points[last])
        if i + 1 < size:
            chosen[i + 1] = nearest.argmax()
    return chosen


def around(size: int) -> Tensor:
    """The matrix (size, size) that averages each place and those beside it; beyond the ends there is nothing, 0, so
    that what stands out is as much diluted there as anywhere."""
    place = torch.arange(size)
    return ((place[:, None] - place).abs() <= 1).float() / 3


def _features(backbone: PretrainedNetwork, prepared: BackboneInput, x: Tensor) -> Iterator[Tensor]:
    """The features of encoded pictures, few at a time."""
    for part in in_parts(x, CHUNK_VALUES):
        yield torch.from_numpy(backbone.features(prepared(part)[0].numpy()))


def _drawn(
    score: BackboneNeighbours,
    backbone: PretrainedNetwork,
    prepared: BackboneInput,
    x: Tensor,
    generator: torch.Generator,
) -> Tensor:
    """Local features of random places of pictures, as many of each: (n, features)."""
    features, (rows, columns) = score.shape.features[0], score.shape.grid
    places = rows * columns
    each = max(1, min(places, min(MOST_PLACES, MOST_DRAWN // features) // len(x)))
    drawn = [
        local[torch.randperm(places, generator=generator)[:each]]
        for part in _features(backbone, prepared, x)
        for local in score.local(part)
    ]
    return torch.cat(drawn)
