"""A score of tables for rows many of which may be anomalies themselves."""

from typing import Any, Self

import msgspec
import torch
from torch import Tensor, nn

from kilter.service.detector.manifest import MemoryEntry
from kilter.service.detector.networks.base import View, robust
from kilter.service.detector.networks.tabular import TableNetwork
from kilter.service.detector.scores.base import AnomalyScore, Material
from kilter.service.detector.scores.combined import build_space
from kilter.service.detector.scores.geometry import HELD, Geometry, GeometryShape
from kilter.service.detector.scores.marginals import Marginals, MarginalsShape, build_marginals
from kilter.service.detector.scores.memory import Memory, MemoryShape

CORE = ("core", "middle")
"""The two measures that a few odd rows cannot lower."""


class CoreShape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The sizes of the score, and which parts it has."""

    geometry: GeometryShape
    memory: MemoryShape
    marginals: MarginalsShape | None
    """None in a wide table, and where columns are categorical: the ELBO knows better how rare their levels are."""
    wide: bool
    """Whether there are no more rows than features: all records are then about as far from each other."""

    @property
    def elbo(self) -> bool:
        """Whether the negative ELBO counts."""
        return self.marginals is None and not self.wide


class RobustCore(AnomalyScore):
    """How far a record is from the rows that an isolation forest finds nothing against, and how rare its values are.

    The logarithm of the sum of the exponentials of both, in robust standard units. Evidence that compares with all rows
    is left out: an anomaly with others of its kind among them is close to these. In a mixed table the distance and the
    negative ELBO, which knows the likelihood of levels, are averaged. In a wide table the distance stands alone.
    """

    shape_type = CoreShape
    holds_calibration = True
    has_points = True
    shape: CoreShape

    def __init__(self, network: TableNetwork, shape: CoreShape) -> None:
        super().__init__()
        self.shape = shape
        self.evidence = network.evidence()
        self.geometry = Geometry(shape.geometry, network)
        self.memory = Memory(shape.memory)
        self.marginals = Marginals(shape.marginals) if shape.marginals else None
        self.memory_entry = MemoryEntry(shape.memory.core + shape.memory.suspects, "training rows")
        # Centre and scale of the two distances and, where it counts, of the negative ELBO.
        self.center = nn.Buffer(torch.zeros(2 + shape.elbo))
        self.scale = nn.Buffer(torch.ones(2 + shape.elbo))

    @classmethod
    @torch.no_grad()
    def fit(cls, network: TableNetwork, material: Material) -> tuple[Self, Tensor | None]:
        """The memory holds the calibration rows, too, as that of `CombinedScore` does."""
        space = build_space(network, material)
        held = space.x[space.held]
        mixed, wide = len(network.level) > 0, not space.geometry.shape.means
        core = space.x[~space.suspect[: len(space.x)]]
        marginals = None if mixed or wide else build_marginals(core, held)
        bins = marginals.shape if marginals else None
        score = cls(network, CoreShape(space.geometry.shape, space.memory.shape, bins, wide=wide))
        score.geometry, score.memory, score.marginals = space.geometry, space.memory, marginals
        score.members = space.members
        for i, values in enumerate(score.gather(network, held, network.see(held), space.own_held).unbind(1)):
            score.center[i], score.scale[i] = robust(values)
        score.evidence.fit(network, material.x, material.blind[0][:HELD])
        return score, space.own

    def gather(self, network: Any, x: Tensor, view: View, own: Tensor | None) -> Tensor:
        """The two distances of encoded records, (n, features), and the negative ELBO if it counts: (n, 2 or 3)."""
        points = self.point(network, x, view)
        core = self.memory.measure(CORE, points, self.memory.find(points, own), own)
        return torch.cat([core, (view.reconstruction + view.kl).unsqueeze(1)], dim=1) if self.shape.elbo else core

    def forward(self, network: Any, x: Tensor, view: View, other: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """`other`, (n,), is the memory's row that each record is itself, which is left out, or -1."""
        core = (self.gather(network, x, view, other) - self.center) / self.scale
        terms = self.evidence(network, x, view)
        if self.shape.elbo:
            distance, _, surprise = core.unbind(1)
            return (distance + surprise.sign() * surprise.abs().log1p()) / 2, terms
        if self.marginals is not None:
            core = torch.cat([core, self.marginals(x)], dim=1)
        return torch.logsumexp(core, dim=1), terms

    def point(self, network: Any, x: Tensor, view: View) -> Tensor:
        points: Tensor = self.geometry(network, x, view.posterior, view.likelihood)
        return points
