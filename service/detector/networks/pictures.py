"""A convolutional variational autoencoder of pictures, with a Gaussian likelihood of learned variance."""

from typing import Literal, NamedTuple, Self

import msgspec
import torch
from torch import Tensor, nn

from kilter.service.detector.networks.base import (
    HALF_LOG_TWO_PI,
    LOG_POSTERIOR_VARIANCE,
    Network,
    Posterior,
    Sizes,
    latent_size,
)
from kilter.service.detector.networks.pixels import averaging, resize, spreading, standardise
from kilter.service.detector.networks.places import PlaceEvidence
from kilter.service.detector.pictures.column import ImageColumn
from kilter.service.detector.schema import Schema

MOST_SIDE = 32
"""The network sees a picture at no more than so many pixels a side: detail is for the memory and the filters."""
CHANNELS = 16
HIDDEN = 128
"""Units of each hidden layer, if they are not asked for."""
LOG_SIGMA = (-3.0, 2.0)
SIGMA_PACE = 10.0
"""The one variance of all pixels learns so many times faster than a weight: everything else waits for it."""


class PictureShape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What rebuilds the network: the picture's size and its own."""

    height: int
    width: int
    channels: Literal[1, 3]
    hidden: int
    latent: int

    @property
    def small(self) -> tuple[int, int]:
        """Height and width at which the network sees a picture."""
        return min(self.height, MOST_SIDE), min(self.width, MOST_SIDE)


class PictureLikelihood(NamedTuple):
    """p(x | z): independent Gaussians, of the standardised picture."""

    mean: Tensor
    """(1, n, values)."""
    log_sigma: Tensor
    """(): one for all pixels."""


def _conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1), nn.SiLU())


class PictureVAE(Network):
    """Encoder, decoder and likelihood (Kingma and Welling, 2014), of pictures that are standardised one by one.

    Its inputs are the standardised pictures at the size at which it sees them, (n, channels, height, width). The
    decoder grows by sub-pixel convolution (Shi et al., 2016); the learned variance is that of Rybkin et al., Simple and
    Effective VAE Training with Calibrated Decoders, 2021.
    """

    modality = "image"
    shape_type = PictureShape
    batch_rows = 64
    members = 1
    shape: PictureShape
    shrink_rows: Tensor
    shrink_columns: Tensor
    grow_rows: Tensor
    grow_columns: Tensor

    def __init__(self, shape: PictureShape) -> None:
        super().__init__()
        self.shape = shape
        self.latent = shape.latent
        (height, width), c = shape.small, CHANNELS
        self.values = self.columns = shape.channels * height * width
        self.coarse = ((height + 3) // 4, (width + 3) // 4)
        flat = 2 * c * self.coarse[0] * self.coarse[1]
        self.encoder = nn.Sequential(_conv(shape.channels, c, 2), _conv(c, 2 * c, 2), _conv(2 * c, 2 * c), nn.Flatten())
        self.posterior_head = nn.Sequential(
            nn.Linear(flat, shape.hidden), nn.SiLU(), nn.Linear(shape.hidden, 2 * shape.latent)
        )
        self.decoder_head = nn.Sequential(
            nn.Linear(shape.latent, shape.hidden), nn.SiLU(), nn.Linear(shape.hidden, flat), nn.SiLU()
        )
        self.decoder = nn.Sequential(
            _conv(2 * c, 4 * c), nn.PixelShuffle(2), _conv(c, c), nn.Conv2d(c, 4 * shape.channels, 3, 1, 1)
        )
        self.finest = nn.PixelShuffle(2)
        self.slow_log_sigma = nn.Parameter(torch.tensor(-0.5 / SIGMA_PACE))
        for name, matrix in (
            ("shrink_rows", averaging(height, shape.height)),
            ("shrink_columns", averaging(width, shape.width)),
            ("grow_rows", spreading(shape.height, height)),
            ("grow_columns", spreading(shape.width, width)),
        ):
            self.register_buffer(name, matrix, persistent=False)

    @classmethod
    def untrained(cls, schema: Schema, sizes: Sizes) -> Self:
        """Raises TypeError if the schema is none of a picture."""
        image = schema.columns[0]
        if not isinstance(image, ImageColumn):
            raise TypeError(f"the network takes pictures, and {image.name!r} is of kind {image.kind}")
        seen = image.channels * min(image.height, MOST_SIDE) * min(image.width, MOST_SIDE)
        hidden, latent = sizes.hidden or HIDDEN, sizes.latent or latent_size(seen)
        return cls(PictureShape(image.height, image.width, image.channels, hidden, latent))

    def pictures(self, x: Tensor) -> Tensor:
        """Encoded records, (..., height width channels), as pictures (n, channels, height, width) from 0 to 1."""
        shape = self.shape
        return x.reshape(-1, shape.height, shape.width, shape.channels).permute(0, 3, 1, 2).contiguous()

    def inputs(self, x: Tensor) -> Tensor:
        standard = standardise(self.pictures(x))
        if self.shape.small == (self.shape.height, self.shape.width):
            return standard
        return resize(standard, self.shrink_rows, self.shrink_columns)

    def encode(self, inputs: Tensor) -> Posterior:
        mean, log_variance = self.posterior_head(self.encoder(inputs)).unsqueeze(0).chunk(2, dim=-1)
        return Posterior(mean, log_variance.clamp(*LOG_POSTERIOR_VARIANCE))

    def decode(self, z: Tensor) -> PictureLikelihood:
        height, width = self.shape.small
        h = self.decoder_head(z.squeeze(0)).reshape(-1, 2 * CHANNELS, *self.coarse)
        mean = self.finest(self.decoder(h))[..., :height, :width]
        return PictureLikelihood(mean.flatten(1).unsqueeze(0), (SIGMA_PACE * self.slow_log_sigma).clamp(*LOG_SIGMA))

    def surprise(self, inputs: Tensor, likelihood: PictureLikelihood) -> Tensor:
        residual = inputs.flatten(1) - likelihood.mean
        log_sigma = likelihood.log_sigma
        return 0.5 * residual.square() * (-2 * log_sigma).exp() + log_sigma + HALF_LOG_TWO_PI

    def expected(self, x: Tensor, likelihood: PictureLikelihood) -> Tensor:
        """The reconstruction with each picture's own brightness and contrast, from 0 to 1: (n, features)."""
        pixels = self.pictures(x)
        mean = pixels.mean((1, 2, 3), keepdim=True)
        spread = (pixels - mean).square().mean((1, 2, 3), keepdim=True).sqrt()
        seen = resize(self.small_pictures(likelihood), self.grow_rows, self.grow_columns) * spread + mean
        return seen.clamp(0, 1).permute(0, 2, 3, 1).flatten(1)

    def small_pictures(self, likelihood: PictureLikelihood) -> Tensor:
        """The mean of a likelihood as standardised pictures, (n, channels, height, width), as small as it sees them."""
        return likelihood.mean.reshape(-1, self.shape.channels, *self.shape.small)

    def evidence(self) -> PlaceEvidence:
        return PlaceEvidence((self.shape.height, self.shape.width), self.shape.small, self.shape.small)
