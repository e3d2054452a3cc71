"""The score of pictures by the local features of a pretrained network, a backbone, that the user has."""

from collections.abc import Iterator
from typing import Any, Literal, Self

import msgspec
import torch
from torch import Tensor, nn
from torch.nn import functional

from kilter.service.detector.manifest import MemoryEntry
from kilter.service.detector.networks.base import View, robust
from kilter.service.detector.networks.pictures import HELD, MOST_SIDE_CELLS, PictureVAE, averaging, in_parts, resize
from kilter.service.detector.scores.base import AnomalyScore, Material, PretrainedNetwork
from kilter.service.detector.scores.memory import principal_axes

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Those of red, green and blue in ImageNet, from 0 to 1, by which published networks standardise their pictures."""
NEAR = 4  # nearest memory rows, to the digits of a float32, whose distance is taken by direct difference
FLOOR = 1e-6  # least squared distance before a logarithm; the variance of local features is 1
MEMORY_ROWS = 2048  # most local features that a memory holds, if it is not said
MOST_AXES = 64
FLOATS = 512 * 1024  # most numbers that a memory of local features holds
MOST_PLACES = 65_536  # local features from which the memory is chosen
MOST_DRAWN = 64 * 1024 * 1024  # most numbers of them
MOST_PICTURES = 10_000  # pictures from which those are drawn
CHUNK_VALUES = 65_536  # values of encoded pictures whose features are taken together


class BackboneInput(nn.Module):
    """Encoded pictures as a backbone takes them, (n, channels, height, width), and as they were given, (n, width).

    The network is a `PictureVAE`.
    """

    def __init__(self, network: Any, channels: int) -> None:
        super().__init__()
        self.network = network
        self.channels = channels
        mean, deviation = torch.tensor(MEAN), torch.tensor(DEVIATION)
        if channels == 1:
            mean, deviation = mean.mean(0, keepdim=True), deviation.mean(0, keepdim=True)
        self.mean = nn.Buffer(mean.reshape(-1, 1, 1), persistent=False)
        self.deviation = nn.Buffer(deviation.reshape(-1, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        pictures = self.network.pictures(x)
        if pictures.shape[1] > self.channels:
            pictures = pictures.mean(1, keepdim=True)
        return (pictures - self.mean) / self.deviation, x.clone()


class BackboneShape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The sizes of the score and of what its backbone gives."""

    channels: Literal[1, 3]
    features: tuple[int, int, int]  # features, rows and columns of what the backbone gives for a picture
    axes: int  # directions that are kept of the space of local features
    places: int  # local features in the memory


class BackboneNeighbours(AnomalyScore):
    """The logarithm of the largest squared distance of a local feature to the nearest in a memory.

    After Roth et al., Towards Total Recall in Industrial Anomaly Detection, 2022; the terms are those of all places.
    """

    shape_type = BackboneShape
    shape: BackboneShape
    grid: tuple[int, int]

    def __init__(self, network: PictureVAE, shape: BackboneShape) -> None:
        super().__init__()
        self.shape = shape
        self.memory_entry = MemoryEntry(
            shape.places, "local features of training pictures, as a pretrained network gives them"
        )
        features, height, width = shape.features
        rows, columns = self.grid = min(height, MOST_SIDE_CELLS), min(width, MOST_SIDE_CELLS)
        self.rows_near = nn.Buffer(around(rows) @ averaging(rows, height), persistent=False)
        self.columns_near = nn.Buffer(around(columns) @ averaging(columns, width), persistent=False)
        self.center = nn.Buffer(torch.zeros(features))
        self.axes = nn.Buffer(torch.zeros(features, shape.axes))
        self.memory = nn.Buffer(torch.zeros(shape.places, shape.axes))
        # Centre and scale of the largest distance of a picture, and of all distances.
        self.usual = nn.Buffer(torch.tensor([[0.0, 1.0], [0.0, 1.0]]))

    @classmethod
    @torch.no_grad()
    def fit(cls, network: PictureVAE, material: Material) -> tuple[Self, None]:
        """Fit the memory, and learn what is usual on pictures that it does not know.

        Raises KilterError if the backbone cannot be run on them, and TypeError if there is none.
        """
        backbone = material.backbone
        if backbone is None:
            raise TypeError("the score of a backbone's features is fitted with a backbone")
        generator = torch.Generator().manual_seed(material.seed)
        channels: Literal[1, 3] = 1 if backbone.channels == 1 else 3
        features = backbone.shape(*network.shape.size)
        prepared = BackboneInput(network, channels).eval()
        empty = cls(network, BackboneShape(channels, features, 1, 0))
        new, seen = material.x[material.blind[0][:HELD]], material.x[material.seen[0][:MOST_PICTURES]]
        places = empty.grid[0] * empty.grid[1]
        each = max(1, min(places, min(MOST_PLACES, MOST_DRAWN // features[0]) // len(seen)))
        drawn = torch.cat(
            [
                local[torch.randperm(places, generator=generator)[:each]]
                for part in _features(backbone, prepared, seen)
                for local in empty.local(part)
            ]
        )
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

    def local(self, features: Tensor) -> Tensor:
        """A backbone's features, (n, features, ...), averaged over the places around each: (n, places, features)."""
        return resize(features, self.rows_near, self.columns_near).flatten(2).transpose(1, 2)

    def distances(self, features: Tensor) -> Tensor:
        """Logarithms of the squared distance of each place to the nearest in the memory, (n, places)."""
        local = self.local(features)
        points = (local.reshape(-1, local.shape[2]) - self.center) @ self.axes
        rough = 0.5 * self.memory.square().sum(1) - points @ self.memory.T
        nearest = rough.topk(min(NEAR, self.shape.places), dim=1, largest=False).indices
        exact = (points.unsqueeze(1) - functional.embedding(nearest, self.memory)).square().sum(2).amin(1)
        return exact.clamp(min=FLOOR).log().reshape(-1, self.grid[0] * self.grid[1])

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
