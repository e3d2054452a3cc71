"""The robust core of the default score alone, for rows many of which may be anomalies themselves."""

from typing import Any

import torch
from torch import Tensor

from kilter.service.detector.networks.base import View
from kilter.service.detector.scores.neighbours import Neighbours


class RobustCore(Neighbours):
    """The core C of `Neighbours`: how far a record is from the rows that an isolation forest finds nothing against,
    and how rare its values are.

    Local evidence is left out, since it compares with all rows: an anomaly with others of its kind among them is close
    to these. In a wide table, which has no histograms, the core is the distance alone.
    """

    def forward(self, network: Any, x: Tensor, view: View, other: Tensor | None = None) -> tuple[Tensor, Tensor]:
        points = self.geometry(network, x, view.posterior, view.likelihood)
        core = self.memory(points, other)[:, 1:]
        strength = torch.logsumexp(core, dim=1, keepdim=True) if self.shape.wide else self.strength(x, view, core)
        return strength.squeeze(1), self.evidence(network, x, view)
