"""What a model's network says of log p(x): the ELBO by draws, its parts, and the importance-weighted bound.

Burda, Grosse and Salakhutdinov, Importance Weighted Autoencoders, 2016: with z_1, ..., z_k drawn from q(z | x),

    E[log 1/k sum_i p(x, z_i) / q(z_i | x)]

is at least the ELBO, which it is for k = 1, at most log p(x), and grows with k towards it. The model is the mixture of
the network's members: each of them draws, and the mean is over all.
"""

from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import torch

from kilter.service.detector.arrays import Floats, Matrix
from kilter.service.detector.artifact import read_artifact
from kilter.service.detector.errors import KilterError
from kilter.service.detector.findings import Evaluation, Figure, LikelihoodBound
from kilter.service.detector.inputs import Table, take
from kilter.service.detector.modalities.base import Modality
from kilter.service.detector.networks import network_class
from kilter.service.detector.networks.base import Network
from kilter.service.detector.store import resolve
from kilter.training.evaluation.evaluate import mean_figure

PREFIX = "network."  # of the network's tensors in an artifact
MOST_ROWS = 2_000  # of more rows, so many at random: the interval tells what that leaves open
CHUNK_VALUES = 1 << 20  # values of the encoded rows whose draws are made at once


class RowBounds(NamedTuple):
    """What is known of each of some rows, (n,), in nats."""

    bound: Floats
    reconstruction: Floats
    """Mean of -log p(x | z) over draws and members."""
    kl: Floats
    """Mean of log q(z | x) - log p(z) over the same draws."""

    @property
    def elbo(self) -> Floats:
        """Mean of the log weights whose log mean is the bound, which therefore is no smaller."""
        return -self.reconstruction - self.kl


def network_of(model: Path) -> Network:
    """The torch network of a model's folder, or a version's, whatever its score. Raises ArtifactError."""
    content = read_artifact(resolve(model))
    kind = network_class(content.manifest.network.kind)
    network = kind(msgspec.convert(content.manifest.network.shape, kind.shape_type))
    own = {name: array for name, array in content.state.items() if name.startswith(PREFIX)}
    network.load_state_dict({name.removeprefix(PREFIX): torch.from_numpy(array) for name, array in own.items()})
    return network.eval()


def bound_likelihood(
    network: Network, modality: Modality, table: Table, samples: int, seed: int, most: int = MOST_ROWS
) -> LikelihoodBound:
    """The bounds on log p(x) of the rows of a table, by so many draws of each member: means over `most` rows or all.

    Raises KilterError if the network has none.
    """
    if not network.has_elbo:
        raise KilterError(
            "there is no evidence: the codes of this model have no prior, and so it has no ELBO and no bound on "
            "log p(x). Leave --evidence out, or train --model vae"
        )
    if table.rows > most:
        table = take(table, np.sort(np.random.default_rng(seed).choice(table.rows, most, replace=False)))
    rows = bound_rows(network, np.concatenate([*modality.encode(table)]), samples, seed)
    return LikelihoodBound(
        samples=samples,
        rows=table.rows,
        elbo=mean_figure(rows.elbo),
        reconstruction=mean_figure(rows.reconstruction),
        kl=mean_figure(rows.kl),
        bound=mean_figure(rows.bound),
    )


def without_elbo(evaluation: Evaluation) -> Evaluation:
    """An evaluation of a model whose codes have no prior: only the reconstruction is left of its ELBO."""
    return msgspec.structs.replace(evaluation, elbo=Figure(None), kl=Figure(None))


@torch.no_grad()
def bound_rows(network: Network, x: Matrix, samples: int, seed: int) -> RowBounds:
    """The bounds on log p(x) of each of some encoded rows, (n, features)."""
    generator = torch.Generator().manual_seed(seed)
    step = max(1, CHUNK_VALUES // max(x.shape[1], 1))
    parts = [_bounds(network, torch.from_numpy(x[i : i + step]), samples, generator) for i in range(0, len(x), step)]
    if not parts:
        return RowBounds(np.empty(0), np.empty(0), np.empty(0))
    return RowBounds(*(np.concatenate(values) for values in zip(*parts, strict=True)))


def _bounds(network: Network, x: torch.Tensor, samples: int, generator: torch.Generator) -> RowBounds:
    inputs = network.inputs(x)
    posterior = network.encode(inputs)
    shape = posterior.mean.shape[:2]
    total = torch.full(shape, -torch.inf, dtype=torch.float64)
    reconstruction, kl = torch.zeros(shape, dtype=torch.float64), torch.zeros(shape, dtype=torch.float64)
    for _ in range(samples):
        z = posterior.draw(generator)
        surprise = network.column_terms(inputs, network.surprise(inputs, network.decode(z))).sum(-1).double()
        excess = posterior.excess(z)
        total = torch.logaddexp(total, -surprise - excess)
        reconstruction += surprise
        kl += excess
    bound = total.logsumexp(0) - np.log(samples * network.members)
    return RowBounds(bound.numpy(), *((part.mean(0) / samples).numpy() for part in (reconstruction, kl)))
