"""A network of pictures together with its score: the program that is exported, calibrated and served."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
import torch
from torch import Tensor, nn
from torch.nn import functional

from kilter.service.detector.errors import ArtifactError
from kilter.service.detector.networks.contrasts import FILTERS, Contrasts
from kilter.service.detector.networks.displaced import BLUR, Pictures, PicturesShape
from kilter.service.detector.networks.image import ImageLikelihood, ImageShape, ImageVAE
from kilter.service.detector.networks.names import ScoreName
from kilter.service.detector.networks.pixels import averaging, resize, smoothing, standardise
from kilter.service.detector.networks.tabular import Posterior

CELL_BLUR = 1.0
MOST_CELLS = 32
"""Most cells a side of the grid on which evidence is told."""
SHARPNESS = 3.0
CONTRAST_WEIGHT = 0.5
CONTRAST_SIDE = 64
"""Pixels of the shorter side from which contrasts count in full: in a smaller picture they are no longer local."""
NETWORK_WEIGHT = 0.2
LEAST_RESIDUAL = 1e-9
LEAST_DISTANCE = 1e-4


class ScoredImageShape(msgspec.Struct, frozen=True, tag="image-vae", tag_field="kind", forbid_unknown_fields=True):
    """What rebuilds the program."""

    network: ImageShape
    score: ScoreName
    memory: PicturesShape | None
    """None for a score that needs no memory: its heat maps are those of the residual."""
    grid: tuple[int, int]
    """Rows and columns of the cells of `terms`; a cell is `cell_of` pixels a side."""


def cell_of(side: int) -> int:
    """Pixels of a cell along a side of so many pixels."""
    return math.ceil(side / MOST_CELLS)


def grid_of(network: ImageShape) -> tuple[int, int]:
    """The grid for pictures of a size; the last row and column may be narrower."""
    height, width = (math.ceil(side / cell_of(side)) for side in (network.height, network.width))
    return height, width


class Looked(NamedTuple):
    """What is measured of n pictures."""

    strongest: Tensor
    """(n, filters): logarithms of the strongest of each contrast."""
    whole: Tensor
    """(n, 2): logarithms of the squared distance to the memory, 0 without one, and of what the network leaves over."""
    cells: Tensor
    """(n, 2, rows columns): logarithms of each cell's squared distance to the memory, or else of what is left over of
    it, and of its strongest contrast.
    """
    posterior: Posterior
    likelihood: ImageLikelihood
    surprise: Tensor
    """(1, n, columns), in nats."""


class Evidence(nn.Module):
    """What speaks against a picture as a whole, in robust standard units: 0 is usual, 1 is the 95 % quantile."""

    center: Tensor
    """(filters + 3,): the usual value on new pictures of each contrast, all contrasts, the memory and the network."""
    scale: Tensor

    def __init__(self, side: int) -> None:
        """For pictures whose shorter side has so many pixels."""
        super().__init__()
        self.contrast_weight = CONTRAST_WEIGHT * min(1.0, side / CONTRAST_SIDE)
        self.register_buffer("center", torch.zeros(FILTERS + 3))
        self.register_buffer("scale", torch.ones(FILTERS + 3))

    def contrasts(self, contrasts: Tensor) -> Tensor:
        """One measure of all contrasts, (n, filters): their soft maximum, (n, 1)."""
        standard = (contrasts - self.center[:FILTERS]) / self.scale[:FILTERS]
        return torch.logsumexp(SHARPNESS * standard, dim=1, keepdim=True)

    def forward(self, measures: Tensor) -> Tensor:
        """The score, (n,), of the measures (n, 3): contrasts, memory and network."""
        standard = (measures - self.center[FILTERS:]) / self.scale[FILTERS:]
        contrasts, memory, network = standard.unbind(1)
        return memory + self.contrast_weight * contrasts + NETWORK_WEIGHT * network


class ScoredImage(nn.Module):
    """Gives the outputs of a program (`detector.runtime`) for encoded pictures.

    The default score `neighbours` adds up three kinds of evidence: the distance to the nearest picture of the memory,
    parts of which may move a little, which sees a wrong whole; contrasts too strong for the picture's own texture,
    which see a small defect; and how far the network's reconstruction is off.
    """

    cell_center: Tensor
    """(2, 1): the usual distance and contrast of a cell on new pictures."""
    cell_scale: Tensor
    cell_rows: Tensor
    cell_columns: Tensor
    blur_rows: Tensor
    blur_columns: Tensor

    def __init__(self, shape: ScoredImageShape) -> None:
        super().__init__()
        self.shape = shape
        network = shape.network
        self.network = ImageVAE(network)
        self.memory = Pictures(shape.memory) if shape.memory else None
        self.contrasts = Contrasts(network.height, network.width)
        self.evidence = Evidence(min(network.height, network.width))
        self.register_buffer("cell_center", torch.zeros(2, 1))
        self.register_buffer("cell_scale", torch.ones(2, 1))
        places = shape.memory.small if shape.memory else network.small
        for name, new, old in zip(("cell_rows", "cell_columns"), shape.grid, places, strict=True):
            self.register_buffer(name, smoothing(new, CELL_BLUR) @ averaging(new, old), persistent=False)
        for name, size in zip(("blur_rows", "blur_columns"), network.small, strict=True):
            self.register_buffer(name, smoothing(size, BLUR), persistent=False)

    def residual(self, dense: Tensor, p: ImageLikelihood) -> Tensor:
        """What the reconstruction leaves of each place, a little blurred, squared: (n, height, width)."""
        left = dense - p.mean.reshape(dense.shape)
        return resize(left, self.blur_rows, self.blur_columns).square().sum(1)

    def cells(self, places: Tensor, contrasts: Tensor) -> Tensor:
        """The evidence of each cell, (n, 2, rows columns), by the distance of its places, a little smoothed, and by the
        strongest of its contrasts.
        """
        smooth = resize(places, self.cell_rows, self.cell_columns)
        cell = cell_of(self.shape.network.height), cell_of(self.shape.network.width)
        strongest = functional.max_pool2d(contrasts.unsqueeze(1), cell, cell, ceil_mode=True)
        return torch.stack([(smooth + LEAST_DISTANCE).log().flatten(1), strongest.flatten(1)], dim=1)

    def look(self, x: Tensor, own: Tensor | None = None) -> Looked:
        """All that is measured of encoded pictures; `own` as in `Pictures`."""
        standard = standardise(self.network.pictures(x))
        dense = self.network.shrink(standard)
        posterior = self.network.encode(dense)
        p = self.network.decode(posterior.mean)
        strongest, contrasts = self.contrasts(standard)
        places = residual = self.residual(dense, p)
        left = residual.mean((1, 2)).clamp(min=LEAST_RESIDUAL).log()
        nearest = torch.zeros_like(left)
        if self.memory is not None:
            distance, places = self.memory(self.memory.see(standard), own)
            nearest = distance.log()
        whole = torch.stack([nearest, left], dim=1)
        surprise = self.network.surprise_of(dense, p)
        return Looked(strongest, whole, self.cells(places, contrasts), posterior, p, surprise)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """`score`, `reconstruction`, `kl`, `terms`, `expected` for x, (n, features)."""
        looked = self.look(x)
        reconstruction, kl = looked.surprise.sum(-1).squeeze(0), looked.posterior.kl().squeeze(0)
        if self.shape.score == "neighbours":
            score = self.evidence(torch.cat([self.evidence.contrasts(looked.strongest), looked.whole], dim=1))
        else:
            score = reconstruction + kl if self.shape.score == "elbo" else reconstruction
        apart, strong = ((looked.cells - self.cell_center) / self.cell_scale).unbind(1)
        terms = apart + functional.relu(strong - 1)
        return score, reconstruction, kl, terms, self.network.expected(x, looked.likelihood)


def from_manifest(network: Mapping[str, Any]) -> nn.Module:
    """The program of a manifest's entry. Raises ArtifactError if the entry does not fit."""
    try:
        return ScoredImage(msgspec.convert(network, ScoredImageShape))
    except msgspec.ValidationError as error:
        raise ArtifactError(f"the network of the manifest: {error}") from None
