"""The score of the detector `iforest`: how few random splits isolate a record."""

import math
from typing import Self

import msgspec
import numpy as np
import torch
from torch import Tensor, nn

from kilter.service.detector.networks.linear import LinearVAE
from kilter.service.detector.scores.base import Material
from kilter.service.detector.scores.vectors import VectorScore, VectorsShape, fit_vectors


class ForestShape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The sizes of the score."""

    vectors: VectorsShape
    trees: int
    nodes: int  # of all trees together
    depth: int  # splits on the longest way down a tree


class PathLength(VectorScore):
    """2^(-h / c), h being the mean length of a record's path to its leaf in random trees, c the usual one of the rows
    that a tree was grown from: an isolation forest (Liu, Ting and Zhou, Isolation Forest, 2008).

    What no fitting row has is no axis of a tree. A path counts as the one that it would be on average if each were an
    axis, and isolated the record where a split draws it.
    """

    shape_type = ForestShape
    at_mean = True
    shape: ForestShape

    def __init__(self, network: LinearVAE, shape: ForestShape) -> None:
        super().__init__(network, shape.vectors)
        self.shape = shape
        # Of each node: the axis that it splits, and where the lower and the higher side go on, a leaf at itself.
        self.node = nn.Buffer(torch.zeros(shape.nodes, 3, dtype=torch.int64))
        self.threshold = nn.Buffer(torch.zeros(shape.nodes))
        self.length = nn.Buffer(torch.zeros(shape.nodes))  # of the path to a leaf, with what its rows would add to it
        self.root = nn.Buffer(torch.zeros(1, shape.trees, dtype=torch.int64))
        self.usual = nn.Buffer(torch.ones(()))

    @classmethod
    @torch.no_grad()
    def fit(cls, network: LinearVAE, material: Material) -> tuple[Self, None]:
        """Raises TypeError without what grows a forest."""
        if material.forest is None:
            raise TypeError("the detector 'iforest' is fitted with what grows a forest")
        vectors = fit_vectors(network, material)
        trees = material.forest(cls.points(network, vectors, material.x).numpy(), material.seed)
        shape = ForestShape(vectors.shape, len(trees.root), len(trees.length), trees.depth)
        score = cls(network, shape)
        score.node.copy_(torch.from_numpy(np.stack([trees.axis, trees.lower, trees.higher], axis=1)))
        # A float32 is at most a float64 if it is at most the largest float32 that is.
        near = trees.threshold.astype(np.float32)
        below = np.where(near > trees.threshold, np.nextafter(near, np.float32(-np.inf)), near)
        score.threshold.copy_(torch.from_numpy(below))
        score.length.copy_(torch.from_numpy(trees.length))
        score.root.copy_(torch.from_numpy(trees.root))
        score.usual.fill_(trees.usual)
        return score.adopt(network, vectors, material), None

    def value(self, points: Tensor, novelties: Tensor, other: Tensor | None) -> Tensor:
        place = self.root.expand(points.shape[0], -1)
        for _ in range(self.shape.depth):
            axis, lower, higher = self.node[place].unbind(-1)
            place = torch.where(points.gather(1, axis) <= self.threshold[place], lower, higher)
        length = self.length[place].mean(1, keepdim=True)
        # A split draws one of the novelties with this chance; the mean of a geometric variable that ends at the leaf.
        chance = novelties / (novelties + self.vectors.axes)
        cut = (1 - (length * torch.log1p(-chance)).exp()) / chance.clamp(min=1e-6)
        length = torch.where(novelties > 0, cut, length)
        return (-math.log(2) * length / self.usual).exp()
