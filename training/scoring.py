"""Builds the program's score around a fitted network."""

import math

import numpy as np
import numpy.typing as npt
import torch
from sklearn.ensemble import IsolationForest
from torch import Tensor

from service.detector.networks.geometry import Geometry, GeometryShape
from service.detector.networks.marginals import Marginals, MarginalsShape
from service.detector.networks.names import ScoreName
from service.detector.networks.scored import Neighbours, NeighboursShape, ScoredShape, ScoredTabular
from service.detector.networks.tabular import TabularVAE
from service.detector.schema import Schema
from training.fit import folds
from training.memory import Rows, batches, build_memory, neighbours, robust

SUSPECTS = 0.2
"""Share of the fitting rows set apart from the core: those that an isolation forest finds easiest to isolate."""
MOST_ROWS = 30_000
"""Fitting rows from which the memory is chosen."""
HELD = 600
"""Rows on which measures are made standard."""
LEAST_SPREAD = 0.2
"""An indicator's standard deviation is taken no smaller: one rare flag must not drown all else."""
EDGE = 1e-4
"""By how much of its width a histogram reaches beyond the values that were seen, at either end."""
RELATIVE = 0.5
"""Share of the relative distance in the local evidence; where levels are, it is none."""
USUAL_ROWS = 2_000


def build_program(
    network: TabularVAE, x: npt.NDArray[np.float32], schema: Schema, score: ScoreName, memory_rows: int, seed: int
) -> ScoredTabular:
    """The program of a network fitted with `seed` to the encoded rows x, (n, features), with the score of that name."""
    neighbours = _neighbours(network, x, schema, memory_rows, seed) if score == "neighbours" else None
    built, shape = neighbours if neighbours else (None, None)
    program = ScoredTabular(ScoredShape(network.shape, score, shape))
    program.network.load_state_dict(network.state_dict())
    if program.neighbours is not None and built is not None:
        program.neighbours.load_state_dict(built.state_dict())
    program.eval()
    with torch.no_grad():
        program.usual.copy_(program(torch.from_numpy(x[:USUAL_ROWS]))[3].median(0).values)
    return program


@torch.no_grad()
def _neighbours(
    network: TabularVAE, x: npt.NDArray[np.float32], schema: Schema, memory_rows: int, seed: int
) -> tuple[Neighbours, NeighboursShape]:
    generator = torch.Generator().manual_seed(seed)
    _, blind = folds(len(x), network.shape.members, seed)
    if len(x) > MOST_ROWS:
        kept = np.sort(np.random.default_rng(seed).permutation(len(x))[:MOST_ROWS])
        x, blind = x[kept], [np.flatnonzero(np.isin(kept, fold)) for fold in blind]
    rows = torch.from_numpy(x)
    geometry_shape, geometry = _geometry(network, rows, schema)
    means, points, residual = _embedded(network, geometry, rows)
    any_blind = torch.from_numpy(np.unique(np.concatenate(blind)))
    mixed, wide = len(network.level) > 0, len(x) < points.shape[1]
    whitening, latent = torch.zeros(()), means
    if not mixed and not wide:
        whitening = _whitening(residual[any_blind])
        whitened = residual @ whitening if whitening.dim() == 2 else residual * whitening
        latent = torch.cat([means, whitened], dim=-1)
    held = torch.from_numpy(blind[0])[:HELD]
    unit, latent_unit = _typical(points, held), _typical(latent, any_blind[:HELD])
    suspect = torch.from_numpy(suspects(points.numpy(), seed))
    space = points / unit if wide else torch.cat([points / unit, latent / latent_unit], dim=-1)
    memory = build_memory(space, Rows(suspect, held), memory_rows, 0.0 if mixed else RELATIVE, generator)
    marginals_shape, marginals = _marginals(network, rows[~suspect], rows[held])
    shape = NeighboursShape(
        geometry_shape,
        memory.shape,
        marginals_shape,
        ("none", "diagonal", "full")[whitening.dim()],
        mixed=mixed,
        wide=wide,
    )
    built = Neighbours(network.shape, shape)
    geometry.rescale(unit)
    for part, made in (("geometry", geometry), ("memory", memory), ("marginals", marginals)):
        getattr(built, part).load_state_dict(made.state_dict())
    built.latent_weight.copy_(1 / (latent_unit * math.sqrt(network.shape.members)))
    built.whitening.copy_(whitening * unit / latent_unit)
    reconstruction, kl, _, _ = network(rows[held])
    built.elbo_center, built.elbo_scale = robust(reconstruction + kl)
    return built, shape


def suspects(points: npt.NDArray[np.float32], seed: int) -> npt.NDArray[np.bool_]:
    """The share SUSPECTS of points that an isolation forest (Liu, Ting and Zhou, 2008) isolates most easily, (n,)."""
    forest = IsolationForest(n_estimators=100, random_state=seed % 2**32).fit(points)
    strangeness = -forest.score_samples(points)
    return np.asarray(strangeness > np.quantile(strangeness, 1 - SUSPECTS))


def _geometry(network: TabularVAE, rows: Tensor, schema: Schema) -> tuple[GeometryShape, Geometry]:
    """Numbers as they are; indicators centred, over their standard deviation; levels so that the squared distance of
    two is the sum of their surprises in nats.
    """
    dense = network.dense(rows)
    total = schema.rows + 2
    missing = tuple(i for i, column in enumerate(schema.columns) if column.missing)
    shape = GeometryShape(dense.shape[1], missing)
    geometry = Geometry(shape, len(schema.columns), len(network.level))
    gaussians, flags = len(network.gaussian), len(network.flag)
    center, weight = torch.zeros(dense.shape[1]), torch.ones(dense.shape[1])
    share = (dense[:, gaussians : gaussians + flags].add(1).div(2).sum(0) + 1) / total
    center[gaussians : gaussians + flags] = 2 * share - 1
    weight[gaussians : gaussians + flags] = 0.5 / _spread(share)
    levels = (dense[:, gaussians + flags :].sum(0) + 1) / total
    center[gaussians + flags :] = levels
    weight[gaussians + flags :] = (-levels.log()).sqrt()
    geometry.center.copy_(center)
    geometry.weight.copy_(weight)
    absent = torch.tensor([(schema.columns[i].missing + 1) / total for i in missing])
    geometry.missing_weight.copy_(1 / _spread(absent))
    geometry.unseen_weight.fill_(math.sqrt(math.log(total)))
    geometry.absent_weight.fill_(1 / LEAST_SPREAD)
    return shape, geometry


def _spread(share: Tensor) -> Tensor:
    return (share * (1 - share)).sqrt().clamp(min=LEAST_SPREAD)


def _embedded(network: TabularVAE, geometry: Geometry, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Posterior means of all members, points and residuals of rows."""
    means, points, residuals = [], [], []
    for part in batches(rows, 4096):
        posterior, p = network.infer(part)
        point, residual = geometry(network, part, p)
        means.append(posterior.joined() / math.sqrt(network.shape.members))
        points.append(point)
        residuals.append(residual)
    return torch.cat(means), torch.cat(points), torch.cat(residuals)


def _whitening(residual: Tensor) -> Tensor:
    """What makes residuals, (n, dense), of unit covariance: a matrix, or a diagonal where rows are too few for one.

    The covariance is shrunk to its diagonal by 10 dense / n.
    """
    n, size = residual.shape
    r = residual.double()
    shrinkage = min(max(10 * size / n, 0.1), 1.0)
    diagonal = r.square().mean(0) + 1e-4
    if shrinkage == 1.0 or size > 256:
        return diagonal.rsqrt().float()
    covariance = (1 - shrinkage) * (r.T @ r / n) + torch.diag(shrinkage * diagonal + 1e-6)
    values, vectors = torch.linalg.eigh(covariance)
    whitening: Tensor = (vectors * values.clamp(min=1e-6).rsqrt()).float()
    return whitening


def _typical(points: Tensor, held: Tensor) -> Tensor:
    """The typical distance of a point to its nearest neighbour, with a floor."""
    distances, _ = neighbours(points[held], points, 1, held)
    typical: Tensor = distances.median() + 0.02 * math.sqrt(points.shape[1])
    return typical


def _marginals(network: TabularVAE, core: Tensor, held: Tensor) -> tuple[MarginalsShape, Marginals]:
    """Histograms of every feature over the core, smoothed by half a count a bin."""
    n = len(core)
    equal_width = min(max(round(math.sqrt(n)), 5), 30)
    bins, low, per_unit, tables, missing = [], [], [], [], []
    for values, feature in zip(core.T.numpy().astype(np.float64), network.shape.features, strict=True):
        present = values[~np.isnan(values)]
        if feature.kind == "gaussian" and len(present):
            count = equal_width
            start, end = float(present.min()), float(present.max())
            start, end = (start, end) if end - start > 1e-9 else (start - 1e-3, end + 1e-3)
        else:
            count = {"gaussian": 1, "flag": 2, "level": feature.levels}[feature.kind]
            # Codes lie in the middle of their bins, so that the one after the last, an unseen level, is beyond them.
            start, end = -0.5, count - 0.5
        # The ends lie within the range, not on its edges, where a rounding error would decide.
        start, end = start - EDGE * (end - start), end + EDGE * (end - start)
        held_counts = np.histogram(np.clip(present, start, end), count, (start, end))[0]
        inside = -np.log((held_counts + 0.5) / (len(present) + 0.5 * count))
        outside = math.log(n + 2)
        bins.append(count)
        low.append(start)
        per_unit.append(count / (end - start))
        tables.append(np.concatenate([[outside], inside, [outside]]))
        missing.append(-math.log((n - len(present) + 1) / (n + 2)))
    shape = MarginalsShape(tuple(bins))
    marginals = Marginals(shape)
    marginals.low.copy_(torch.tensor(low))
    marginals.per_unit.copy_(torch.tensor(per_unit))
    marginals.table.copy_(torch.from_numpy(np.concatenate(tables)))
    marginals.missing.copy_(torch.tensor(missing))
    marginals.usual.copy_(marginals.surprise(core).mean(0))
    marginals.center, marginals.scale = robust(marginals.surprise(held).sum(1))
    return shape, marginals
