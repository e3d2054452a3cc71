"""Builds the space in which the default score measures distances."""

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kilter.service.detector.networks.geometry import Geometry, GeometryShape
from kilter.service.detector.networks.joined import Joined
from kilter.service.detector.networks.tabular import TabularVAE, known
from kilter.service.detector.schema import Schema
from kilter.training.memory import neighbours

LEAST_SPREAD = 0.2
"""An indicator's standard deviation is taken no smaller: one rare flag must not drown all else."""
MOST_WHITENED = 256
"""Residuals of more features are made of unit variance each, and not uncorrelated."""
HELD = 600
"""Rows by which the unit of distance is found."""
RIDGE = 1e-3
CHUNK = 4096


def build_geometry(network: TabularVAE, rows: Tensor, schema: Schema, blind: list[npt.NDArray[np.int64]]) -> Geometry:
    """The space of a network fitted to encoded rows, (n, features), and blind, member by member, to some of them.

    What was observed and what the network makes of it are each in units of the typical distance to the nearest of the
    rows. In a mixed table residuals are left out: that of a level is no coordinate. In a wide one so is all that the
    network makes of a record, of which it has learned little.
    """
    any_blind = torch.from_numpy(np.unique(np.concatenate(blind)))
    missing = tuple(i for i, column in enumerate(schema.columns) if column.missing)
    dense = len(network.dense_feature)
    mixed, wide = len(network.level) > 0, len(rows) < dense + len(missing) + 1
    plain = Geometry(GeometryShape(dense, missing, means=False, whitening="none"), network.shape)
    _weigh(plain, network, rows, schema)
    if plain.joined is not None:
        read_out(plain.joined, network, rows)
    looked = [plain.look(network, part, *network.infer(part)) for part in torch.split(rows, CHUNK)]
    means, expected = (torch.cat(parts) for parts in zip(*looked, strict=True))
    observed, residual = plain.values(network, rows, expected)
    values = torch.cat(observed, dim=1)
    weight = plain.scale.clone()
    plain.rescale(typical(values, torch.from_numpy(blind[0])[:HELD]))
    if wide:
        return plain
    parts = [means / math.sqrt(network.shape.members)]
    whitening = torch.zeros(())
    if not mixed:
        whitening = whitened((residual * weight)[any_blind])
        whitening = weight[:, None] * whitening if whitening.dim() == 2 else weight * whitening
        parts.append(residual @ whitening if whitening.dim() == 2 else residual * whitening)
    unit = typical(torch.cat(parts, dim=1), any_blind[:HELD])
    kind = GeometryShape(dense, missing, means=True, whitening=("none", "diagonal", "full")[whitening.dim()])
    geometry = Geometry(kind, network.shape)
    geometry.load_state_dict(plain.state_dict() | {"whitening": whitening / unit})
    geometry.means_weight.copy_(1 / (unit * math.sqrt(network.shape.members)))
    if geometry.joined is not None:
        geometry.joined.index(network)
    return geometry


def read_out(joined: Joined, network: TabularVAE, rows: Tensor) -> None:
    """Fit the readout to what the network expects of encoded rows, (n, features): ridge regression."""
    joined.index(network)
    parts = [
        (joined.hidden(network.dense(part), known(part))[1], network.expected_dense(network.infer(part)[1]))
        for part in torch.split(rows, CHUNK)
    ]
    hidden, expected = (torch.cat(found).double() for found in zip(*parts, strict=True))
    center, spread = hidden.mean(0), hidden.std(0).clamp(min=1e-4)
    mean = expected.mean(0)
    standard = (hidden - center) / spread
    ridge = RIDGE * len(rows) * torch.eye(standard.shape[1], dtype=torch.float64)
    slope = torch.linalg.solve(standard.T @ standard + ridge, standard.T @ (expected - mean)) / spread[:, None]
    joined.readout.copy_(torch.cat([slope, (mean - center @ slope)[None]]))


def whitened(residual: Tensor) -> Tensor:
    """What makes residuals, (n, dense), of unit covariance: a matrix, or a diagonal where rows are too few for one.

    The covariance is shrunk to its diagonal by 10 dense / n.
    """
    n, size = residual.shape
    r = residual.double()
    shrinkage = min(max(10 * size / n, 0.1), 1.0)
    diagonal = r.square().mean(0) + 1e-4
    if shrinkage == 1.0 or size > MOST_WHITENED:
        return diagonal.rsqrt().float()
    covariance = (1 - shrinkage) * (r.T @ r / n) + torch.diag(shrinkage * diagonal + 1e-6)
    values, vectors = torch.linalg.eigh(covariance)
    whitening: Tensor = (vectors * values.clamp(min=1e-6).rsqrt()).float()
    return whitening


def typical(points: Tensor, held: Tensor) -> Tensor:
    """The typical distance of a point to its nearest neighbour, with a floor."""
    distances, _ = neighbours(points[held], points, 1, held)
    found: Tensor = distances.median() + 0.02 * math.sqrt(points.shape[1])
    return found


def _weigh(geometry: Geometry, network: TabularVAE, rows: Tensor, schema: Schema) -> None:
    """Numbers as they are; indicators over their standard deviation; levels so that the squared distance of
    two is the sum of their surprises in nats.
    """
    dense = network.dense(rows)
    total = schema.rows + 2
    first = len(network.gaussian)
    last = first + len(network.flag)
    share = (dense[:, first:last].add(1).div(2).sum(0) + 1) / total
    levels = (dense[:, last:].sum(0) + 1) / total
    geometry.scale[first:last] = 0.5 / _spread(share)
    geometry.scale[last:] = (-levels.log()).sqrt()
    absent = torch.tensor([(schema.columns[i].missing + 1) / total for i in geometry.shape.missing])
    geometry.missing_weight.copy_(1 / _spread(absent))
    geometry.unseen_weight.fill_(math.sqrt(math.log(total)))
    geometry.absent_weight.fill_(1 / LEAST_SPREAD)


def _spread(share: Tensor) -> Tensor:
    return (share * (1 - share)).sqrt().clamp(min=LEAST_SPREAD)
