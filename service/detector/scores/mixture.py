"""A mixture of Gaussians with full covariances over records as they came: the relations that are linear."""

import msgspec
import numpy as np
import torch
from torch import Tensor, nn

from kilter.service.detector.columns import NumericColumn
from kilter.service.detector.networks.tabular import TableNetwork
from kilter.service.detector.schema import Schema
from kilter.service.detector.scores.base import MixtureFit

COMPONENTS = 5
MOST_AXES = 256  # with more dense features there is none: its matrices would be larger than all else
MOST_ROWS = 5_000  # rows to which it is fitted
LEAST_SPREAD = 1e-6  # a feature that varies less is not divided by its standard deviation
FARTHEST = 1_000.0  # standard deviations beyond which numbers are no farther away
LARGEST_EXPONENT = 80.0
LEVEL_WEIGHT = 0.5**0.5  # of a one-hot level, so that rows that differ in it are at a squared distance of 1


class MixtureShape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The sizes of a mixture."""

    dense: int
    components: int


class Mixture(nn.Module):
    """-log density of records under a mixture of Gaussians, up to a constant.

    Of a number whose heavy tail the encoding tames the mixture sees the number itself: what is extreme in it is as
    extreme here as it came. Numbers and flags are in units of their standard deviation.
    """

    def __init__(self, shape: MixtureShape) -> None:
        super().__init__()
        self.shape = shape
        dense = shape.dense
        # A feature f that is tamed is sinh(stretch f + shift) before it is standardised.
        self.tamed = nn.Buffer(torch.zeros(dense))
        self.stretch = nn.Buffer(torch.zeros(dense))
        self.shift = nn.Buffer(torch.zeros(dense))
        self.mean = nn.Buffer(torch.zeros(dense))
        self.spread = nn.Buffer(torch.ones(dense))
        self.whitening = nn.Buffer(torch.zeros(dense, shape.components * dense))
        self.offset = nn.Buffer(torch.zeros(shape.components * dense))
        self.log_weight = nn.Buffer(torch.zeros(shape.components))

    def untame(self, dense: Tensor) -> Tensor:
        """Dense features, (n, dense), with each number as it came, but for its unit."""
        raw = torch.sinh((dense * self.stretch + self.shift).clamp(-LARGEST_EXPONENT, LARGEST_EXPONENT))
        return torch.where(self.tamed > 0, raw, dense)

    def look(self, dense: Tensor) -> Tensor:
        """Dense features, (n, dense), as the mixture sees them."""
        return ((self.untame(dense) - self.mean) / self.spread).clamp(-FARTHEST, FARTHEST)

    def forward(self, dense: Tensor) -> Tensor:
        """-log density of dense features, (n, dense), up to a constant: (n,)."""
        white = torch.addmm(self.offset, self.look(dense), self.whitening)
        square = white.reshape(-1, self.shape.components, self.shape.dense).square().sum(2)
        return -torch.logsumexp(self.log_weight - 0.5 * square, dim=1)


def build_mixture(
    network: TableNetwork, schema: Schema, dense: Tensor, fit: MixtureFit, seed: int, rows: Tensor | None = None
) -> Mixture:
    """A mixture fitted to dense features, (n, dense), or to the `rows` of them alone."""
    count, width = dense.shape
    mixture = Mixture(MixtureShape(width, max(1, min(COMPONENTS, count // COMPONENTS))))
    columns = [schema.columns[feature.column] for feature in network.features]
    for place, feature in enumerate(network.gaussian.tolist()):
        column = columns[feature]
        if isinstance(column, NumericColumn) and column.transform == "asinh":
            mixture.tamed[place], mixture.stretch[place], mixture.shift[place] = 1, column.scale, column.center
    plain = mixture.untame(dense)
    spread = plain.std(0, correction=0)
    levels = torch.arange(width) >= len(network.gaussian) + len(network.flag)
    mixture.mean.copy_(torch.where(levels, 0.0, plain.mean(0)))
    mixture.spread.copy_(torch.where(levels, 1 / LEVEL_WEIGHT, torch.where(spread > LEAST_SPREAD, spread, 1.0)))
    fitted = mixture.look(dense if rows is None else dense[rows])
    kept = np.sort(np.random.default_rng(seed).permutation(len(fitted))[:MOST_ROWS])
    found = fit(fitted[torch.from_numpy(kept)].numpy(), mixture.shape.components, seed)
    whitening = torch.from_numpy(found.whitening)
    offset = -(torch.from_numpy(found.means).unsqueeze(1) @ whitening).squeeze(1)
    volume = whitening.diagonal(dim1=1, dim2=2).log().sum(1)
    log_weight = torch.from_numpy(found.weights).clamp(min=1e-12).log() + volume
    mixture.whitening.copy_(whitening.transpose(0, 1).reshape(width, -1).float())
    mixture.offset.copy_(offset.flatten().float())
    mixture.log_weight.copy_((log_weight - log_weight.max()).float())
    return mixture
