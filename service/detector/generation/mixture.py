"""Synthetic pictures by a learned prior: codes drawn from a mixture of Gaussians, and decoded.

The codes of the fitting rows, all together, do not have the distribution N(0, I) that the loss pulls each of them to:
there are holes between them (Tomczak and Welling, VAE with a VampPrior, 2018; Ghosh et al., From variational to
deterministic autoencoders, 2020, who fit a mixture afterwards as here).
"""

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

from kilter.service.detector.arrays import Array, Floats
from kilter.service.detector.errors import ArtifactError, KilterError
from kilter.service.detector.generation.base import Generator
from kilter.service.detector.inputs import Table
from kilter.service.detector.latent import LatentSpace

WEIGHTS, MEANS, FACTORS = "generator.weights", "generator.means", "generator.factors"
"""Tensors: (components,), (components, size) and the lower Cholesky factors of the covariances."""
NEARNESS = 0.75
"""How far the code of a picture near another is that other's, in the Gaussian in which it lies: their correlation."""


class MixtureShape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many Gaussians there are, and how many numbers a code has."""

    components: int
    size: int


class CodeMixture(Generator):
    """Draws codes from a mixture of Gaussians."""

    shape_type = MixtureShape

    def __init__(self, latent: LatentSpace, shape: MixtureShape, tensors: Mapping[str, Array]) -> None:
        """Raises ArtifactError if they do not fit each other."""
        count, size = shape.components, shape.size
        wanted = {WEIGHTS: (count,), MEANS: (count, size), FACTORS: (count, size, size)}
        for name, sizes in wanted.items():
            if name not in tensors or tensors[name].shape != sizes:
                raise ArtifactError(f"the generator has no tensor {name!r} of the shape {sizes}")
        self._latent = latent
        self._weights, self._means, self._factors = (tensors[name].astype(np.float64) for name in wanted)

    def draw(
        self,
        count: int,
        rng: np.random.Generator,
        near: Table | None = None,
        where: Mapping[str, Any] | None = None,
    ) -> Table:
        if where:
            raise KilterError("a condition names a column, and pictures have none: leave it out")
        if near is None:
            return self._latent.decode(self.codes(count, rng))
        codes = self._latent.encode(near)
        if not len(codes):
            raise KilterError("there is no picture to be near to")
        return self._latent.decode(self._moved(codes[rng.integers(len(codes), size=count)], rng))

    def codes(self, count: int, rng: np.random.Generator) -> Floats:
        """Codes of the mixture, (count, size)."""
        component = rng.choice(len(self._weights), count, p=self._weights / self._weights.sum())
        noise = rng.standard_normal((count, self._means.shape[1]))
        codes: Floats = self._means[component] + np.einsum("nij,nj->ni", self._factors[component], noise)
        return codes

    def _moved(self, codes: Floats, rng: np.random.Generator) -> Floats:
        """Codes beside others, (n, size), each drawn anew in part by the likeliest Gaussian of the other."""
        apart = np.stack(
            [np.linalg.solve(self._factors[i], (codes - mean).T).T for i, mean in enumerate(self._means)], axis=1
        )
        volume = np.log(np.abs(np.diagonal(self._factors, axis1=1, axis2=2))).sum(axis=1)
        likelihood = np.log(self._weights) - volume - 0.5 * np.square(apart).sum(axis=2)
        component = likelihood.argmax(axis=1)
        place = np.take_along_axis(apart, component[:, None, None], axis=1)[:, 0]
        noise = rng.standard_normal(place.shape)
        place = NEARNESS * place + np.sqrt(1 - NEARNESS**2) * noise
        moved: Floats = self._means[component] + np.einsum("nij,nj->ni", self._factors[component], place)
        return moved

    def audit(self) -> None:
        if self._means.shape[1] != self._latent.size:
            size = self._means.shape[1]
            raise ArtifactError(f"the generator draws codes of {size} numbers, and a code has {self._latent.size}")
        diagonals = np.diagonal(self._factors, axis1=1, axis2=2)
        if not (self._weights > 0).all() or not (diagonals > 0).all():
            raise ArtifactError("the generator's mixture has weights or factors that are not above 0")
