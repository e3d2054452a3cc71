"""Records as they came, in standard units: of a number whose heavy tail the encoding tames the number itself."""

import torch
from torch import Tensor, nn

from kilter.service.detector.columns import NumericColumn
from kilter.service.detector.networks.tabular import TableNetwork
from kilter.service.detector.schema import Schema

LEAST_SPREAD = 1e-6  # a feature that varies less is not divided by its standard deviation
FARTHEST = 1_000.0  # standard deviations beyond which numbers are no farther away
LARGEST_EXPONENT = 80.0
LEVEL_WEIGHT = 0.5**0.5  # of a one-hot level, so that rows that differ in it are at a squared distance of 1


class RawView(nn.Module):
    """Maps dense features, (n, dense), to what they were before they were tamed, in standard deviations: (n, dense).

    What is extreme in a number is as extreme here as it came.
    """

    def __init__(self, dense: int) -> None:
        super().__init__()
        # A feature f that is tamed is sinh(stretch f + shift) before it is standardised.
        self.tamed = nn.Buffer(torch.zeros(dense))
        self.stretch = nn.Buffer(torch.zeros(dense))
        self.shift = nn.Buffer(torch.zeros(dense))
        self.mean = nn.Buffer(torch.zeros(dense))
        self.spread = nn.Buffer(torch.ones(dense))

    def untame(self, dense: Tensor) -> Tensor:
        """Dense features with each number as it came, but for its unit."""
        raw = torch.sinh((dense * self.stretch + self.shift).clamp(-LARGEST_EXPONENT, LARGEST_EXPONENT))
        return torch.where(self.tamed > 0, raw, dense)

    def forward(self, dense: Tensor) -> Tensor:
        return ((self.untame(dense) - self.mean) / self.spread).clamp(-FARTHEST, FARTHEST)


def build_raw_view(network: TableNetwork, schema: Schema, dense: Tensor) -> RawView:
    """The view by the means and standard deviations of dense features, (n, dense)."""
    width = dense.shape[1]
    view = RawView(width)
    columns = [schema.columns[feature.column] for feature in network.features]
    for place, feature in enumerate(network.gaussian.tolist()):
        column = columns[feature]
        if isinstance(column, NumericColumn) and column.transform == "asinh":
            view.tamed[place], view.stretch[place], view.shift[place] = 1, column.scale, column.center
    plain = view.untame(dense)
    spread = plain.std(0, correction=0)
    levels = torch.arange(width) >= len(network.gaussian) + len(network.flag)
    view.mean.copy_(torch.where(levels, 0.0, plain.mean(0)))
    view.spread.copy_(torch.where(levels, 1 / LEVEL_WEIGHT, torch.where(spread > LEAST_SPREAD, spread, 1.0)))
    return view
