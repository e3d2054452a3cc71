"""A network that is ready to be fitted: its shape by the schema, its start by what is known before the first step."""

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kilter.service.detector.columns import ImageColumn
from kilter.service.detector.networks.image import ImageShape, ImageVAE
from kilter.service.detector.networks.tabular import TabularShape, TabularVAE
from kilter.service.detector.schema import Schema
from kilter.training.config import FitConfig

MIXTURE_FEATURES = 200
"""More features than these have one Gaussian each: a mixture would take too long."""

HIDDEN = {"tables": 64, "pictures": 128}
"""Units of each hidden layer, if they are not asked for."""

Network = TabularVAE | ImageVAE


def begin(x: npt.NDArray[np.float32], schema: Schema, config: FitConfig, seed: int) -> Network:
    """The network of a schema, not yet fitted to the encoded rows x, (n, width)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        image = schema.columns[0]
        if isinstance(image, ImageColumn):
            hidden = config.hidden or HIDDEN["pictures"]
            shape = ImageShape(image.height, image.width, image.channels, hidden, 1)
            latent = config.latent or latent_size(shape.columns)
            return ImageVAE(ImageShape(image.height, image.width, image.channels, hidden, latent))
        network = TabularVAE(shape_of(schema, config))
    set_priors(network, schema)
    set_start(network, torch.from_numpy(x))
    return network


def device_of(network: Network) -> torch.device:
    """Where a network is."""
    return next(network.parameters()).device


def surprise(network: Network, x: Tensor, z: Tensor) -> Tensor:
    """-log p(x_j | z) of every value of encoded rows, (members, n, values), in nats."""
    if isinstance(network, ImageVAE):
        return network.surprise(x, network.decode(z))
    return network.surprise(x, network.decode(z))


def values(network: Network) -> int:
    """Number of values of a record whose likelihood the network knows."""
    return network.shape.columns if isinstance(network, ImageVAE) else len(network.shape.features)


def latent_size(features: int) -> int:
    """Dimensions of the latent space for a number of features."""
    return min(max(2 * round(math.sqrt(features)) + 2, 3), 32)


def shape_of(schema: Schema, config: FitConfig) -> TabularShape:
    """The network's shape for a schema."""
    features = schema.features()
    return TabularShape(
        features,
        len(schema.columns),
        config.members,
        config.hidden or HIDDEN["tables"],
        config.latent or latent_size(len(features)),
        config.components or (3 if len(features) <= MIXTURE_FEATURES else 1),
    )


def set_priors(network: TabularVAE, schema: Schema) -> None:
    """Set the probabilities of what training rarely or never saw.

    A flag's probability stays 1 / (n + 2) away from 0 and 1, and a missing value has (m + 1) / (n + 2): Laplace's rule
    of succession. An unseen level has the Good-Turing estimate, the share of levels seen once.
    """
    total = schema.rows + 2
    network.flag_floor.fill_(1 / total)
    network.missing.copy_(torch.tensor([(column.missing + 1) / total for column in schema.columns]))
    unseen = [1e-6] * len(network.level)
    for i, feature in enumerate(network.level.tolist()):
        once = schema.columns[network.shape.features[feature].column].levels_seen_once
        if once is not None:
            unseen[i] = min((once + 1) / total, 0.5)
    network.unseen.copy_(torch.tensor(unseen))


def set_start(network: TabularVAE, rows: Tensor) -> None:
    """Let the network start from how often each flag and each level occurs in the rows, (n, features)."""
    dense = network.dense(rows)
    flags, slots = len(network.flag), len(network.slot_code)
    first = dense.shape[1] - flags - slots
    share = (torch.cat([(dense[:, first : first + flags] + 1) / 2, dense[:, first + flags :]], 1).sum(0) + 1) / (
        len(rows) + 2
    )
    network.start_at(share[:flags], share[flags:])
