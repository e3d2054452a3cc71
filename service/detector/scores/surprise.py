"""Pieces of evidence on one scale: how surprising each is by what is usual, in nats."""

import torch
from torch import Tensor, nn

from kilter.service.detector.networks.base import robust

TAIL = 0.1  # share of the largest values that are described by how far they exceed the others on average
LEAST_TAIL = 5  # fewest values of it
KNOTS = 9  # places at which -log of the share of larger values is kept, between which it is linear
LEAST_STEP = 0.02
"""Least distance of two knots in robust standard units: a rounding error must not decide between them."""


class Surprise(nn.Module):
    """-log of the p-value of each piece of evidence, by values on normal records, in nats.

    Within the bulk of these it is linear between knots. Beyond it grows as the logarithm of how far a value exceeds the
    bulk, in units of the mean excess, so that no single piece drowns the others: an exponential tail would let it grow
    in proportion. The mean of surprises is Fisher's statistic of combined p-values (Fisher, 1925), over 2 k.
    """

    def __init__(self, parts: int) -> None:
        super().__init__()
        self.center = nn.Buffer(torch.zeros(parts))
        self.scale = nn.Buffer(torch.ones(parts))
        self.knots = nn.Buffer(torch.zeros(parts, KNOTS - 1))
        self.width = nn.Buffer(torch.ones(parts, KNOTS - 1))
        self.step = nn.Buffer(torch.zeros(parts, KNOTS - 1))
        self.bulk = nn.Buffer(torch.zeros(parts))  # where the bulk ends
        self.excess = nn.Buffer(torch.ones(parts))  # mean excess beyond it

    def fit(self, values: Tensor) -> None:
        """Learn what is usual from evidence against normal records, (m, parts), m at least 2."""
        count = len(values)
        tail = max(round(TAIL * count), min(LEAST_TAIL, count - 1))
        last = count - tail - 1
        places = torch.linspace(0, last, KNOTS).round().long()
        nats = -((count - places) / (count + 1)).log()
        for i, part in enumerate(values.unbind(1)):
            center, scale = robust(part)
            ordered = ((part - center) / scale).sort().values
            knots = ordered[places]
            self.center[i], self.scale[i] = center, scale
            self.knots[i], self.width[i] = knots[:-1], knots.diff().clamp(min=LEAST_STEP)
            self.step[i] = nats.diff()
            self.bulk[i] = knots[-1]
            self.excess[i] = (ordered[last + 1 :] - knots[-1]).mean().clamp(min=LEAST_STEP)

    def forward(self, values: Tensor) -> Tensor:
        """The surprise of evidence, (n, parts), in nats, 0 or more: (n, parts)."""
        standard = (values - self.center) / self.scale
        inside = (((standard.unsqueeze(2) - self.knots) / self.width).clamp(0, 1) * self.step).sum(2)
        beyond = ((standard - self.bulk) / self.excess).clamp(min=0)
        return inside + beyond.log1p()
