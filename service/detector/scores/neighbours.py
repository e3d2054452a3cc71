"""The default score of tables: a robust core, and local evidence that decides the top of the ranking."""

import math
from typing import Any, Self

import msgspec
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from kilter.service.detector.manifest import MemoryEntry
from kilter.service.detector.networks.base import View, clean, finite, robust
from kilter.service.detector.networks.tabular import TableNetwork
from kilter.service.detector.scores.base import AnomalyScore, Material
from kilter.service.detector.scores.geometry import Geometry, GeometryShape, build_geometry
from kilter.service.detector.scores.memory import CHUNK, Memory, MemoryShape, Points, build_memory

LOCAL_WEIGHT = 8.0
LOCAL_THRESHOLD = 0.97
LOCAL_SHARPNESS = 3.0
CORE_SHARE = 0.3
"""What the core says counts so much towards the threshold of the local evidence."""
MIXED_MARGIN = 0.35
"""In a mixed table the local evidence may exceed the core by no more than this."""
MEMORY_ROWS = 4096
"""Most rows that the memory holds, if it is not said."""
MOST_ROWS = 30_000
"""Fitting rows from which the memory is chosen."""
HELD = 600
"""Rows on which measures are made standard."""
RELATIVE = 0.65
"""Share of the relative distance in the local evidence, beside that to the tangent plane; none in a mixed table."""
EDGE = 1e-4
"""By how much of its width a histogram reaches beyond the values that were seen, at either end."""
BINS = (5, 30)


class MarginalsShape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The sizes of the histograms."""

    features: int
    bins: int
    """Bins of the feature that has most of them, without the one below and the one above."""


class Marginals(nn.Module):
    """A histogram per feature: how rare its value is on its own. Outside its range, or missing, it has other bins.

    The sum over features of -log of the bin's share is the histogram-based outlier score of Goldstein and Dengel, 2012.
    """

    def __init__(self, shape: MarginalsShape) -> None:
        super().__init__()
        self.shape = shape
        # A value v lies in bin floor((v - start) per_unit), the one below the range being bin 0.
        self.start = nn.Buffer(torch.zeros(shape.features))
        self.per_unit = nn.Buffer(torch.ones(shape.features))
        # The evidence of each bin: below, within, above, for a feature that is hidden, for one missing.
        self.table = nn.Buffer(torch.zeros(shape.features, shape.bins + 4))
        self.offset = nn.Buffer(torch.arange(shape.features) * (shape.bins + 4), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """The evidence against records, (n, 1), summed over their features."""
        above = self.shape.bins + 1
        place = ((clean(x) - self.start) * self.per_unit).clamp(0, above)
        absent = torch.isnan(x).to(x.dtype) + (above + 1)
        # Nothing is below 0, so that cutting off the fraction is rounding down.
        bins = torch.where(finite(x), place, absent).to(torch.int64) + self.offset
        return functional.embedding(bins, self.table.flatten().unsqueeze(1)).sum(1)


def build_marginals(core: Tensor, held: Tensor) -> Marginals:
    """Histograms of every feature, numbers and flags, over the encoded core rows, (n, features), NaN where missing.

    Shares are smoothed by half a count a bin; the evidence is made robustly standard on `held` rows.
    """
    n, features = core.shape
    marginals = Marginals(MarginalsShape(features, min(max(round(math.sqrt(n)), BINS[0]), BINS[1])))
    bins, table = marginals.shape.bins, marginals.table
    above, hidden, missing = bins + 1, bins + 2, bins + 3
    for i, values in enumerate(core.T.numpy().astype(np.float64)):
        present = values[~np.isnan(values)]
        start, end = (float(present.min()), float(present.max())) if len(present) else (0.0, 0.0)
        if end - start <= 1e-9:
            start, end = start - 1e-3, end + 1e-3
        # The ends lie within the range, not on its edges, where a rounding error would decide.
        start, end = start - EDGE * (end - start), end + EDGE * (end - start)
        width = (end - start) / bins
        marginals.start[i], marginals.per_unit[i] = start - width, 1 / width
        counts = np.histogram(present, bins, (start, end))[0]
        table[i, 1:above] = torch.from_numpy(-np.log((counts + 0.5) / (len(present) + 0.5 * bins)))
        table[i, 0] = table[i, above] = math.log(n + 2)
        table[i, missing] = -math.log((n - len(present) + 1) / (n + 2))
        places = np.where(np.isnan(values), missing, np.clip((values - start) / width + 1, 0, above))
        # A hidden value is taken to be as rare as values are on average.
        table[i, hidden] = table[i, torch.from_numpy(places.astype(np.int64))].mean()
    center, scale = robust(marginals(held).squeeze(1))
    table.sub_(center / features).div_(scale)
    return marginals


class NeighboursShape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The sizes of the score, and which parts it has."""

    geometry: GeometryShape
    memory: MemoryShape
    marginals: MarginalsShape | None
    """None where columns are categorical: how far two levels lie apart is then a convention, and the ELBO serves
    instead; and in a wide table."""
    wide: bool
    """Whether there are no more rows than features: a network then knows little of how records vary, and all are about
    as far from each other."""


class Neighbours(AnomalyScore):
    """How far records are from normal ones, in a space of their values, their posterior means and their residuals.

    Core C: how far a point is from the rows that nothing speaks against, and how rare its values are, as the logarithm
    of the sum of their exponentials. Local L: how far it is from the nearest of the memory's rows, for how far that is
    from its own neighbours, and from its tangent plane. The score is C + 8 softplus(3 (L - 0.3 C - 0.97)) / 3, so that
    anomalies hidden among the training rows, which spoil L, leave the ranking to C, and an L beyond what is usual, and
    beyond what C has said already, decides by itself.

    In a mixed table residuals are left out of the space, the core is the distance and the negative ELBO, which knows
    the likelihood of levels, and L exceeds it by no more than a margin. In a wide table L alone, in the space of values
    alone, is the score.
    """

    shape_type = NeighboursShape
    holds_calibration = True
    shape: NeighboursShape

    def __init__(self, network: TableNetwork, shape: NeighboursShape) -> None:
        super().__init__()
        self.shape = shape
        self.evidence = network.evidence()
        self.geometry = Geometry(shape.geometry, network)
        self.memory = Memory(shape.memory)
        self.marginals = Marginals(shape.marginals) if shape.marginals else None
        self.memory_entry = MemoryEntry(shape.memory.core + shape.memory.suspects, "training rows")
        self.elbo_center = nn.Buffer(torch.zeros(()))
        self.elbo_scale = nn.Buffer(torch.ones(()))

    @classmethod
    @torch.no_grad()
    def fit(cls, network: TableNetwork, material: Material) -> tuple[Self, Tensor | None]:
        """The memory holds the calibration rows, too, unless there are more rows than it is chosen from.

        Raises TypeError without an isolation forest, by which suspects are set apart.
        """
        if material.isolation is None:
            raise TypeError("the score 'neighbours' is fitted with an isolation forest")
        x, blind, calibration = material.x, material.blind, material.calibration
        generator = torch.Generator().manual_seed(material.seed)
        if len(x) + len(calibration) > MOST_ROWS:
            calibration = calibration[:0]
        if len(x) > MOST_ROWS:
            kept = np.sort(np.random.default_rng(material.seed).permutation(len(x))[:MOST_ROWS])
            x = x[torch.from_numpy(kept)]
            blind = [torch.from_numpy(np.flatnonzero(np.isin(kept, fold))) for fold in blind]
        held = blind[0][:HELD]
        geometry = build_geometry(network, x, material.schema, blind)
        mixed, wide = len(network.level) > 0, not geometry.shape.means
        fitted, others = (
            torch.cat([geometry(network, part, *network.infer(part)[1:]) for part in torch.split(rows, CHUNK)])
            for rows in (x, calibration)
        )
        suspicious = material.isolation(fitted[:, : geometry.plain].numpy(), material.seed)
        old, new = (
            Points(points, torch.from_numpy(suspicious(points[:, : geometry.plain].numpy())))
            for points in (fitted, others)
        )
        relative, size = 0.0 if mixed else RELATIVE, material.memory_rows or MEMORY_ROWS
        memory, own = build_memory(old, new, held, size, 1 - relative, relative, generator)
        marginals = None if mixed or wide else build_marginals(x[~old.suspect], x[held])
        bins = marginals.shape if marginals else None
        score = cls(network, NeighboursShape(geometry.shape, memory.shape, bins, wide=wide))
        score.geometry, score.memory, score.marginals = geometry, memory, marginals
        view = network.see(x[held])
        center, scale = robust(view.reconstruction + view.kl)
        score.elbo_center.copy_(center)
        score.elbo_scale.copy_(scale)
        score.evidence.fit(network, material.x, held)
        return score, own if len(own) else None

    def index(self, network: TableNetwork) -> None:
        self.geometry.index(network)

    def forward(self, network: Any, x: Tensor, view: View, other: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """`other`, (n,), is the memory's row that each record is itself, which is left out, or -1."""
        points = self.geometry(network, x, view.posterior, view.likelihood)
        local, core = torch.split(self.memory(points, other), [1, 2], dim=1)
        return self._value(x, view, local, core), self.evidence(network, x, view)

    def _value(self, x: Tensor, view: View, local: Tensor, core: Tensor) -> Tensor:
        """The score, (n,), by the local evidence, (n, 1), and that of the core and its middle, (n, 2)."""
        if self.shape.wide:
            return local.squeeze(1)
        if self.marginals is not None:
            strength = torch.logsumexp(torch.cat([core, self.marginals(x)], dim=1), dim=1, keepdim=True)
        else:
            elbo = (view.reconstruction + view.kl).unsqueeze(1)
            surprise = (elbo - self.elbo_center) / self.elbo_scale
            strength = (core[:, :1] + surprise.sign() * surprise.abs().log1p()) / 2
            local = torch.minimum(local, strength + MIXED_MARGIN)
        excess = functional.softplus(LOCAL_SHARPNESS * (local - CORE_SHARE * strength - LOCAL_THRESHOLD))
        score: Tensor = strength + LOCAL_WEIGHT / LOCAL_SHARPNESS * excess
        return score.squeeze(1)
