"""A convolutional variational autoencoder of pictures, with a Gaussian likelihood of learned variance."""

from typing import Literal, NamedTuple

import msgspec
import torch
from torch import Tensor, nn

from kilter.service.detector.networks.pixels import averaging, resize, spreading, standardise
from kilter.service.detector.networks.tabular import HALF_LOG_TWO_PI, LOG_POSTERIOR_VARIANCE, Posterior

MOST_SIDE = 32
"""The network sees a picture at no more than so many pixels a side: detail is for the memory and the filters."""
CHANNELS = 16
LOG_SIGMA = (-3.0, 2.0)
SIGMA_PACE = 10.0
"""The one variance of all pixels learns so many times faster than a weight: everything else waits for it."""


class ImageShape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What rebuilds the network: the picture's size and its own."""

    height: int
    width: int
    channels: Literal[1, 3]
    hidden: int
    latent: int

    @property
    def members(self) -> int:
        """One network, as tables have several: (1, n, ...) are the shapes below."""
        return 1

    @property
    def small(self) -> tuple[int, int]:
        """Height and width at which the network sees a picture."""
        return min(self.height, MOST_SIDE), min(self.width, MOST_SIDE)

    @property
    def columns(self) -> int:
        """Number of values whose likelihood it knows."""
        return self.channels * self.small[0] * self.small[1]


class ImageLikelihood(NamedTuple):
    """p(x | z): independent Gaussians, of the standardised picture."""

    mean: Tensor
    """(1, n, columns)."""
    log_sigma: Tensor
    """(): one for all pixels."""


def _conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1), nn.SiLU())


class ImageVAE(nn.Module):
    """Encoder, decoder and likelihood (Kingma and Welling, 2014), of pictures that are standardised one by one.

    The decoder grows by sub-pixel convolution (Shi et al., 2016); the learned variance is that of Rybkin et al., Simple
    and Effective VAE Training with Calibrated Decoders, 2021.
    """

    shrink_rows: Tensor
    shrink_columns: Tensor
    grow_rows: Tensor
    grow_columns: Tensor

    def __init__(self, shape: ImageShape) -> None:
        super().__init__()
        self.shape = shape
        (height, width), c = shape.small, CHANNELS
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

    def pictures(self, x: Tensor) -> Tensor:
        """Encoded records, (..., height width channels), as pictures (n, channels, height, width) from 0 to 1."""
        shape = self.shape
        return x.reshape(-1, shape.height, shape.width, shape.channels).permute(0, 3, 1, 2).contiguous()

    def shrink(self, pictures: Tensor) -> Tensor:
        """Pictures at the size at which the network sees them."""
        if self.shape.small == (self.shape.height, self.shape.width):
            return pictures
        return resize(pictures, self.shrink_rows, self.shrink_columns)

    def dense(self, x: Tensor) -> Tensor:
        """The standardised pictures of encoded records as the network sees them, (n, channels, height, width)."""
        return self.shrink(standardise(self.pictures(x)))

    def encode(self, dense: Tensor) -> Posterior:
        """The posterior of standardised pictures."""
        mean, log_variance = self.posterior_head(self.encoder(dense)).unsqueeze(0).chunk(2, dim=-1)
        return Posterior(mean, log_variance.clamp(*LOG_POSTERIOR_VARIANCE))

    def posterior(self, x: Tensor) -> Posterior:
        """The posterior of encoded records, (..., features)."""
        return self.encode(self.dense(x))

    def decode(self, z: Tensor) -> ImageLikelihood:
        """The likelihood given z, (1, n, latent)."""
        height, width = self.shape.small
        h = self.decoder_head(z.squeeze(0)).reshape(-1, 2 * CHANNELS, *self.coarse)
        mean = self.finest(self.decoder(h))[..., :height, :width]
        return ImageLikelihood(mean.flatten(1).unsqueeze(0), (SIGMA_PACE * self.slow_log_sigma).clamp(*LOG_SIGMA))

    def surprise(self, x: Tensor, p: ImageLikelihood) -> Tensor:
        """-log p(x_j | z) of every value in nats, (1, n, columns)."""
        return self.surprise_of(self.dense(x), p)

    def surprise_of(self, dense: Tensor, p: ImageLikelihood) -> Tensor:
        """The same, of pictures that are standardised already."""
        residual = dense.flatten(1) - p.mean
        return 0.5 * residual.square() * (-2 * p.log_sigma).exp() + p.log_sigma + HALF_LOG_TWO_PI

    def column_terms(self, x: Tensor, surprise: Tensor) -> Tensor:
        """The surprise of every value: no pixel is ever missing."""
        return surprise

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Reconstruction and KL of encoded records, (n,) each, in nats, at the posterior mean."""
        dense = self.dense(x)
        posterior = self.encode(dense)
        return self.surprise_of(dense, self.decode(posterior.mean)).sum(-1).squeeze(0), posterior.kl().squeeze(0)

    def expected(self, x: Tensor, p: ImageLikelihood) -> Tensor:
        """The reconstruction with each picture's own brightness and contrast, from 0 to 1: (n, features)."""
        pixels = self.pictures(x)
        mean = pixels.mean((1, 2, 3), keepdim=True)
        spread = (pixels - mean).square().mean((1, 2, 3), keepdim=True).sqrt()
        small = p.mean.reshape(-1, self.shape.channels, *self.shape.small)
        seen = resize(small, self.grow_rows, self.grow_columns) * spread + mean
        return seen.clamp(0, 1).permute(0, 2, 3, 1).flatten(1)
