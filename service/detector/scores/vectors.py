"""Records as standardised vectors, and the base of the scores that judge these: detectors without a fitted VAE."""

from typing import Any, ClassVar, Self

import msgspec
import torch
from torch import Tensor, nn

from kilter.service.detector.columns.boolean import UNSEEN
from kilter.service.detector.networks.base import LEAST_SPREAD, View, clean, observed, spread_of
from kilter.service.detector.networks.linear import CHUNK, LinearVAE
from kilter.service.detector.scores.base import AnomalyScore, Material

NOVELTY = 1 / LEAST_SPREAD**2
"""The squared distance of something that no fitting row has from all that they have: that of the rarest flags."""
APART = 0.5  # standard units by which the value of a constant feature has to change


class VectorsShape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The axes of the vectors."""

    varying: tuple[int, ...]  # dense features whose values differ among fitting rows, by their positions
    missing: tuple[int, ...]  # columns that some fitting rows lack, and others have: an axis each says so


class Vectors(nn.Module):
    """Maps encoded records to points, (n, axes), and counts what no fitting row has, (n, 1).

    Axes are the dense features that vary among the fitting rows, weighed as by the network, a missing or hidden one at
    its expectation, and whether columns are missing that some fitting rows lack, over the standard deviation. What no
    fitting row has is an unseen level, a column missing that never was, or another value of a constant feature.
    """

    def __init__(self, network: LinearVAE, shape: VectorsShape) -> None:
        super().__init__()
        self.shape = shape
        dense = len(network.dense_feature)
        never = torch.ones(network.columns, 1)
        never[list(shape.missing)] = 0
        self.never_missing = nn.Buffer(never, persistent=False)  # 1 for a column that no fitting row lacks
        self.varying = nn.Buffer(torch.tensor(shape.varying, dtype=torch.int64), persistent=False)
        self.seen_missing = nn.Buffer(torch.tensor(shape.missing, dtype=torch.int64), persistent=False)
        self.scale = nn.Buffer(torch.ones(len(shape.varying)))
        self.missing_weight = nn.Buffer(torch.ones(len(shape.missing)))
        self.constant = nn.Buffer(torch.zeros(dense))
        self.counted = nn.Buffer(torch.zeros(dense, 1))  # 1 for a constant feature whose change counts

    @property
    def axes(self) -> int:
        return len(self.shape.varying) + len(self.shape.missing)

    def forward(self, network: LinearVAE, x: Tensor, expected: Tensor) -> tuple[Tensor, Tensor]:
        """Points, (n, axes), and novelties, (n, 1); `expected`, (n, dense) or (1, dense), fills what is missing."""
        dense, seen, gone = network.dense(x), network.seen(x), network.missing_columns(x)
        filled = torch.where(seen > 0, dense, expected)
        if len(self.varying) < filled.shape[1]:
            filled = torch.index_select(filled, -1, self.varying)
        parts = [filled * self.scale]
        if len(self.seen_missing):
            parts.append(torch.index_select(gone, -1, self.seen_missing) * self.missing_weight)
        changed = ((dense - self.constant).abs() > APART).to(x.dtype) * seen
        novelties = gone @ self.never_missing + changed @ self.counted
        if len(network.flag):
            flags = network.pick(clean(x), "flag") > UNSEEN - APART
            novelties = novelties + flags.to(x.dtype).sum(-1, keepdim=True)
        if len(network.level):
            unseen = (1 - network.hits(x) @ network.slot_group) * network.pick(observed(x), "level")
            novelties = novelties + unseen.sum(-1, keepdim=True)
        return torch.cat(parts, dim=-1), novelties


def fit_vectors(network: LinearVAE, material: Material) -> Vectors:
    """The vectors of a network by the fitting rows."""
    schema, rows = material.schema, material.x
    low = torch.stack([network.dense(part).amin(0) for part in torch.split(rows, CHUNK)]).amin(0)
    high = torch.stack([network.dense(part).amax(0) for part in torch.split(rows, CHUNK)]).amax(0)
    varies = high > low
    varies[0] |= not varies.any()
    missing = [i for i, column in enumerate(schema.columns) if 0 < column.missing < schema.rows]
    vectors = Vectors(network, VectorsShape(tuple(torch.where(varies)[0].tolist()), tuple(missing)))
    vectors.scale.copy_(network.scale[varies])
    share = torch.tensor([(schema.columns[i].missing + 1) / (schema.rows + 2) for i in missing])
    vectors.missing_weight.copy_(1 / spread_of(share))
    vectors.constant.copy_(low)
    # A level that all fitting rows have is missed where another one is hit, which counts already.
    slots = torch.arange(len(varies)) >= len(varies) - len(network.slot_code)
    vectors.counted.copy_((~varies & ~(slots & (low > 0))).float()[:, None])
    return vectors


class VectorScore(AnomalyScore):
    """A score of vectors, around a `LinearVAE` that fills what is missing and says what is expected.

    A subclass gives `value`; `at_mean` says that what is missing lies at the mean, whatever the other features are.
    """

    at_mean: ClassVar[bool] = False

    def __init__(self, network: LinearVAE, vectors: VectorsShape) -> None:
        super().__init__()
        self.vectors = Vectors(network, vectors)
        self.evidence = network.evidence()

    def forward(self, network: Any, x: Tensor, view: View, other: Tensor | None = None) -> tuple[Tensor, Tensor]:
        expected = network.mean_dense if self.at_mean else network.expected_dense(view.likelihood)
        points, novelties = self.vectors(network, x, expected)
        return self.value(points, novelties, other).squeeze(1), self.evidence(network, x, view)

    def value(self, points: Tensor, novelties: Tensor, other: Tensor | None) -> Tensor:
        """The score, (n, 1), of points, (n, axes), with so many novelties, (n, 1); `other` as of `forward`."""
        raise NotImplementedError

    def adopt(self, network: LinearVAE, vectors: Vectors, material: Material) -> Self:
        """Take over fitted vectors, and learn what evidence is usual."""
        self.vectors = vectors
        self.evidence.fit(network, material.x, material.blind[0])
        return self.eval()

    @classmethod
    def points(cls, network: LinearVAE, vectors: Vectors, x: Tensor) -> Tensor:
        """The points of encoded rows, (n, features): (n, axes)."""
        parts = []
        for part in torch.split(x, CHUNK):
            expected = network.mean_dense if cls.at_mean else network.expected_dense(network.infer(part)[2])
            parts.append(vectors(network, part, expected)[0])
        return torch.cat(parts)
