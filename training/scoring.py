"""Builds the program's score around a fitted network."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from sklearn.ensemble import IsolationForest
from torch import Tensor

from kilter.service.detector.calibration import rounded
from kilter.service.detector.detector import DECIMALS
from kilter.service.detector.networks.geometry import Geometry
from kilter.service.detector.networks.names import ScoreName
from kilter.service.detector.networks.scored import Neighbours, NeighboursShape, ScoredShape, ScoredTabular
from kilter.service.detector.networks.tabular import TabularVAE
from kilter.service.detector.schema import Schema
from kilter.training.fit import folds
from kilter.training.geometry import build_geometry
from kilter.training.marginals import build_marginals
from kilter.training.memory import Rows, build_memory, robust

SUSPECTS = 0.2
"""Share of the fitting rows set apart from the core: those that an isolation forest finds easiest to isolate."""
MEMORY_ROWS = 4096
"""Most rows that the memory holds, if it is not said."""
MOST_ROWS = 30_000
"""Fitting rows from which the memory is chosen."""
HELD = 600
"""Rows on which measures are made standard."""
RELATIVE = 0.65
"""Share of the relative distance in the local evidence, beside that to the tangent plane; none in a mixed table."""
USUAL_ROWS = 2_000
CHUNK = 1024

Matrix = npt.NDArray[np.float32]


class Built(NamedTuple):
    """A program, and what of its memory comes from calibration rows."""

    program: ScoredTabular
    own: Tensor | None
    """(calibration rows,): the memory's row that each is, or -1; None if it knows none of them."""


def build_program(
    network: TabularVAE,
    x: Matrix,
    calibration: Matrix,
    schema: Schema,
    score: ScoreName,
    memory_rows: int | None,
    seed: int,
) -> Built:
    """The program of a network fitted with `seed` to the encoded rows x, (n, features), with the score of that name.

    The memory of the score `neighbours` holds the `calibration` rows, (m, features), too, unless there are more rows
    than it is chosen from.
    """
    program, own = ScoredTabular(ScoredShape(network.shape, score)), None
    if score == "neighbours":
        known = calibration if len(x) + len(calibration) <= MOST_ROWS else calibration[:0]
        built, shape, own = _neighbours(network, x, known, schema, memory_rows, seed)
        program = ScoredTabular(ScoredShape(network.shape, score, shape))
        program.neighbours = built
    program.network.load_state_dict(network.state_dict())
    program.eval()
    with torch.no_grad():
        program.usual.copy_(program(torch.from_numpy(x[:USUAL_ROWS]))[3].median(0).values)
    return Built(program, own if own is not None and len(own) else None)


def score_rows(program: ScoredTabular, x: Matrix, own: Tensor | None = None) -> npt.NDArray[np.float64]:
    """The scores of encoded rows, (n, features), each without the memory's row that is its `own`, if any: (n,)."""
    rows = torch.split(torch.from_numpy(x), CHUNK)
    owns = torch.split(own, CHUNK) if own is not None else [None] * len(rows)
    with torch.no_grad():
        parts = [program(*part)[0] for part in zip(rows, owns, strict=True)]
    return rounded(torch.cat(parts).double().numpy(), DECIMALS)


@torch.no_grad()
def _neighbours(
    network: TabularVAE, x: Matrix, calibration: Matrix, schema: Schema, memory_rows: int | None, seed: int
) -> tuple[Neighbours, NeighboursShape, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    _, blind = folds(len(x), network.shape.members, seed)
    if len(x) > MOST_ROWS:
        kept = np.sort(np.random.default_rng(seed).permutation(len(x))[:MOST_ROWS])
        x, blind = x[kept], [np.flatnonzero(np.isin(kept, fold)) for fold in blind]
    rows, held = torch.from_numpy(x), torch.from_numpy(blind[0])[:HELD]
    geometry = build_geometry(network, rows, schema, blind)
    fitted, others = (_points(network, geometry, part) for part in (rows, torch.from_numpy(calibration)))
    plain = geometry.plain
    suspect = suspicion(fitted[:, :plain].numpy(), seed)
    known, new = (Rows(points, torch.from_numpy(suspect(points[:, :plain].numpy()))) for points in (fitted, others))
    mixed, wide = geometry.joined is None, not geometry.shape.means
    relative = 0.0 if mixed else RELATIVE
    memory, own = build_memory(known, new, held, memory_rows or MEMORY_ROWS, 1 - relative, relative, generator)
    marginals = None if mixed or wide else build_marginals(rows[~known.suspect], rows[held])
    shape = NeighboursShape(geometry.shape, memory.shape, marginals.shape if marginals else None, wide=wide)
    built = Neighbours(network.shape, shape)
    built.geometry, built.memory, built.marginals = geometry, memory, marginals
    reconstruction, kl, _, _ = network(rows[held])
    built.elbo_center, built.elbo_scale = robust(reconstruction + kl)
    return built, shape, own


def suspicion(points: Matrix, seed: int) -> Callable[[Matrix], npt.NDArray[np.bool_]]:
    """Whether points are suspects: as easily isolated by a forest of the given ones, (n, axes), as SUSPECTS of them.

    The forest is an isolation forest (Liu, Ting and Zhou, 2008).
    """
    forest = IsolationForest(n_estimators=100, random_state=seed % 2**32).fit(points)
    limit = np.quantile(-forest.score_samples(points), 1 - SUSPECTS)
    return lambda x: -forest.score_samples(x) > limit if len(x) else np.zeros(0, bool)


def _points(network: TabularVAE, geometry: Geometry, rows: Tensor) -> Tensor:
    return torch.cat([geometry(network, part, *network.infer(part)) for part in torch.split(rows, CHUNK)])
