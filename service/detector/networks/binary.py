"""A variational autoencoder of pictures in black and white: every pixel is a Bernoulli variable."""

from typing import NamedTuple, Self

import torch
from torch import Tensor
from torch.nn import functional

from kilter.service.detector.errors import KilterError
from kilter.service.detector.networks.base import Posterior, Sizes, chance
from kilter.service.detector.networks.pictures import PictureShape, PictureVAE, resize
from kilter.service.detector.schema import Schema


class PixelChances(NamedTuple):
    """p(x | z): the chance that a pixel is white."""

    mean: Tensor  # (1, n, values)
    logit: Tensor


class BinaryPictureVAE(PictureVAE):
    """Encoder and decoder are those of `PictureVAE`; pictures are taken as they are, from black to white.

    A grey pixel counts as the share of white in it. Of a picture that is larger than what the network sees, the average
    over an area counts.
    """

    def __init__(self, shape: PictureShape) -> None:
        super().__init__(shape)
        del self.slow_log_sigma  # there is no variance to learn

    @classmethod
    def untrained(cls, schema: Schema, sizes: Sizes) -> Self:
        """Raises KilterError if a deviation is asked for."""
        if sizes.sigma is not None:
            raise KilterError(
                "fit.sigma is for Gaussian pixels, and those of binary-vae are black or white: leave it out"
            )
        return super().untrained(schema, sizes)

    def inputs(self, x: Tensor) -> Tensor:
        pictures = self.pictures(x)
        if self.shape.small == self.shape.size:
            return pictures
        return resize(pictures, self.shrink_rows, self.shrink_columns)

    def decode(self, z: Tensor) -> PixelChances:  # type: ignore[override]
        logit = self.decoded_pixels(z)
        return PixelChances(torch.sigmoid(logit), logit)

    def surprise(self, inputs: Tensor, likelihood: PixelChances) -> Tensor:  # type: ignore[override]
        return functional.softplus(likelihood.logit) - inputs.flatten(1) * likelihood.logit

    def expected(self, x: Tensor, likelihood: PixelChances) -> Tensor:  # type: ignore[override]
        return self.full_size(self.small_pictures(likelihood))  # type: ignore[arg-type]

    @property
    def code_size(self) -> int:
        """The posterior's mean alone: such pictures have no light of their own."""
        return self.latent

    def code_of(self, x: Tensor, posterior: Posterior) -> Tensor:
        return posterior.mean[0]

    def decoded(self, code: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        likelihood = self.decode(code.unsqueeze(0))
        small = self.small_pictures(likelihood)  # type: ignore[arg-type]
        drawn = (chance(noise).reshape(small.shape) < small).to(small.dtype)
        return self.full_size(small), self.full_size(drawn)

    def full_size(self, small: Tensor) -> Tensor:
        """Pictures as the network sees them, (n, channels, height, width), at their full size: (n, features)."""
        grown = resize(small, self.grow_rows, self.grow_columns)
        return grown.clamp(0, 1).permute(0, 2, 3, 1).flatten(1)
