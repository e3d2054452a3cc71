"""The interface of a score, and the program that is exported and served: a network together with its score."""

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, Protocol, Self

import msgspec
from torch import Tensor, nn

from kilter.service.detector.arrays import Floats, Mask, Matrix, Positions
from kilter.service.detector.errors import ArtifactError
from kilter.service.detector.manifest import MemoryEntry, NetworkEntry, ScoreEntry
from kilter.service.detector.networks import network_class
from kilter.service.detector.networks.base import Network, View
from kilter.service.detector.schema import Schema
from kilter.service.detector.scores import score_class

Isolation = Callable[[Matrix, int], Callable[[Matrix], Mask]]
"""Takes points, (n, axes), and a seed, and gives a function that tells which of others are easily isolated, (m,)."""


class Gaussians(NamedTuple):
    """The parameters of a mixture of Gaussians over k axes."""

    weights: Floats  # (components,)
    means: Floats  # (components, k)
    whitening: Floats
    """Triangular, (components, k, k): |(x - mean) @ whitening| is the Mahalanobis distance of x."""


MixtureFit = Callable[[Matrix, int, int], Gaussians]
"""Fits a mixture to rows, (n, k), with so many components and by a seed."""

DensityFit = Callable[[Floats, float, int], Gaussians]
"""Takes points, (n, axes), the least variance to add along each axis, and a seed, and gives a mixture.

It decides how many components there are.
"""


class Trees(NamedTuple):
    """Trees of random splits, their nodes one after the other, (nodes,) each."""

    axis: Positions  # of the split
    threshold: Floats  # up to which a value goes to the lower side
    lower: Positions  # the node at which that goes on; of a leaf itself
    higher: Positions
    length: Floats  # of the path to a leaf, with the usual one in a tree of the leaf's rows; 0 of other nodes
    root: Positions  # (trees,)
    depth: int  # splits on the longest path
    usual: float  # average length of the paths in a tree of so many rows as each was grown from


Forest = Callable[[Matrix, int], Trees]
"""Takes points, (n, axes), and a seed, and gives trees that isolate them."""


class PretrainedNetwork(Protocol):
    """A frozen network that gives a map of local features of pictures."""

    @property
    def channels(self) -> int: ...
    def shape(self, height: int, width: int) -> tuple[int, int, int]:
        """Features, rows and columns of what it gives for a picture of a size."""

    def features(self, pictures: Matrix) -> Matrix:
        """The features, (n, features, rows, columns), of pictures, (n, channels, height, width)."""


class Material(NamedTuple):
    """The input to the fit of a score."""

    schema: Schema
    x: Tensor  # encoded fitting rows, (n, features)
    seen: list[Tensor]  # positions of the rows that each member of the network was fitted to
    blind: list[Tensor]  # positions of the rows that each member did not see
    calibration: Tensor  # encoded calibration rows that a memory may hold, (m, features)
    seed: int
    memory_rows: int | None = None  # most rows of a memory, if that is asked for
    isolation: Isolation | None = None
    mixture: MixtureFit | None = None
    backbone: PretrainedNetwork | None = None
    density: DensityFit | None = None
    forest: Forest | None = None


class AnomalyScore(nn.Module):
    """How strange a record is, by the record and a network's view of it. See `AnomalyScore.forward`."""

    shape_type: ClassVar[type[msgspec.Struct]]
    """The part of a manifest that rebuilds it: `cls(network, shape)` is a score that was not fitted."""
    holds_calibration: ClassVar[bool] = False
    """Whether its memory may hold calibration rows, each of which is then scored with all of it but itself."""
    shape: msgspec.Struct
    grid: tuple[int, int] | None = None  # rows and columns of the places of its terms, if they are of places
    memory_entry: MemoryEntry | None = None  # the records of the training that it remembers
    has_points: ClassVar[bool] = False
    """Whether it remembers whole records, by their points."""
    members: Tensor | None = None
    """The positions of these among the fitting rows and, after them, the calibration rows, (rows,); known to `fit`."""

    @classmethod
    def fit(cls, network: Any, material: Material) -> tuple[Self, Tensor | None]:
        """The score around a fitted network, and the memory's row that each calibration row is, (m,), or -1.

        The rows are None if the memory holds none of them.
        """
        raise NotImplementedError

    def index(self, network: Any) -> None:
        """Prepare what depends on the network's weights, once they are final."""

    def forward(self, network: Any, x: Tensor, view: View, other: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The score, (n,), and the terms, (n, columns or places), of encoded records, (n, features).

        `other` is a further input of some scores: the memory's rows that the records are, or a backbone's features.
        """
        raise NotImplementedError

    def point(self, network: Any, x: Tensor, view: View) -> Tensor:
        """Where it compares encoded records, (n, features), with those that it remembers: (n, axes)."""
        raise NotImplementedError


class ScoredNetwork(nn.Module):
    """Gives the outputs of the programs (`detector.runtime`) for encoded records."""

    def __init__(self, network: Network, score: AnomalyScore) -> None:
        super().__init__()
        self.network = network
        self.score = score
        self.register_load_state_dict_post_hook(  # type: ignore[no-untyped-call]
            lambda program, _: program.score.index(program.network)
        )

    def forward(self, x: Tensor, other: Tensor | None = None) -> tuple[Tensor, ...]:
        """`score`, `reconstruction`, `kl`, `terms`, `expected` for x, (n, features); `other` as of `AnomalyScore`."""
        return self.judge(x, self.network.see(x), other)

    def judge(self, x: Tensor, view: View, other: Tensor | None = None) -> tuple[Tensor, ...]:
        """`forward` by the network's view of x."""
        score, terms = self.score(self.network, x, view, other)
        return score, view.reconstruction, view.kl, terms, self.network.expected(x, view.likelihood)

    def point(self, x: Tensor) -> Tensor:
        """`point` for x, (n, features), of a score that has points."""
        return self.score.point(self.network, x, self.network.see(x))


def rebuild(network: NetworkEntry, score: ScoreEntry) -> ScoredNetwork:
    """The program of a manifest's entries, its tensors not yet loaded. Raises ArtifactError if they do not fit."""
    network_type = network_class(network.kind)
    try:
        built = network_type(msgspec.convert(network.shape, network_type.shape_type))
        score_type = score_class(score.kind)
        return ScoredNetwork(built, score_type(built, msgspec.convert(score.shape, score_type.shape_type)))
    except msgspec.ValidationError as error:
        raise ArtifactError(f"the network of the manifest: {error}") from None
