"""Networks of pictures: constant matrices that work on them, the evidence against their places, and an autoencoder.

Sizes and widths are fixed when a network is built, so that resizing and smoothing are products with constant matrices.
"""

import math
from typing import ClassVar, Literal, NamedTuple, Self

import msgspec
import torch
from torch import Tensor, nn
from torch.nn import functional

from kilter.service.detector.networks.base import (
    HALF_LOG_TWO_PI,
    Evidence,
    Network,
    Posterior,
    Sizes,
    View,
    latent_size,
    robust,
)
from kilter.service.detector.networks.layers import DEFAULT, Convolution, LayerBuild
from kilter.service.detector.pictures.column import ImageColumn
from kilter.service.detector.schema import Schema

LEAST_CONTRAST = 0.02
"""Added to a picture's standard deviation, of pixels from 0 to 1: an even one has no contrast to make standard."""
REACH = 4.0  # a Gaussian's kernel ends at so many standard deviations
BLUR = 0.7  # standard deviation in pixels by which pictures are blurred before they are compared
CHUNK_VALUES = 262_144  # values of encoded pictures that are looked at together
SCALES = (0.7, 1.0, 1.5, 2.0)  # standard deviations in pixels of what stands in the middle of a filter
AROUND = ((2.0, 2.0), (4.0, 1.0), (1.0, 4.0))
"""The surroundings that it is held against: all round, along the rows' direction, along the columns'."""
FILTERS = len(SCALES) * len(AROUND)
STRONGEST = 2
LEAST = 1e-3
PLACE_SIGMA = 2.0  # pixels over which the usual contrast of a place is smoothed
PLACE_FLOOR = 0.05  # least share of a filter's overall contrast that is usual in any place
CELL_BLUR = 1.0
MOST_SIDE_CELLS = 32  # most cells a side of the grid on which evidence is given
LEAST_DISTANCE = 1e-4
HELD = 400  # most new pictures on which measures are made standard
MOST_CELLS = 1_000_000  # cells by which their evidence is made standard
MOST_SIDE = 32
"""The network sees a picture at no more than so many pixels a side: detail is for the memory and the filters."""
CHANNELS = 16
HIDDEN = 128  # units of each hidden layer, if they are not asked for
LOG_SIGMA = (-3.0, 2.0)
SIGMA_PACE = 10.0
"""The one variance of all pixels learns so many times faster than a weight: everything else waits for it."""


def in_parts(x: Tensor, values: int = CHUNK_VALUES) -> tuple[Tensor, ...]:
    """Encoded pictures, (n, width), in consecutive parts of so many values, or of one picture."""
    return torch.split(x, max(1, values // x.shape[1]))


def standardise(pixels: Tensor) -> Tensor:
    """Each picture of (n, channels, height, width) less its mean, over its standard deviation: brightness and contrast
    of a photograph are the light's."""
    centred = pixels - pixels.mean((1, 2, 3), keepdim=True)
    spread = centred.square().mean((1, 2, 3), keepdim=True).sqrt()
    return centred / (spread + LEAST_CONTRAST)


def resize(pictures: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Pictures, (..., height, width), by the matrices (new height, height) and (new width, width)."""
    return torch.matmul(torch.matmul(rows, pictures), columns.T)


def averaging(new: int, old: int) -> Tensor:
    """The matrix (new, old) that averages over the area that each new pixel covers."""
    edges = torch.arange(new + 1, dtype=torch.float64) * old / new
    pixel = torch.arange(old, dtype=torch.float64)
    covered = torch.minimum(edges[1:, None], pixel + 1) - torch.maximum(edges[:-1, None], pixel)
    return (covered.clamp(min=0) * new / old).float()


def spreading(new: int, old: int) -> Tensor:
    """The matrix (new, old) of linear interpolation between the centres of old pixels."""
    place = ((torch.arange(new, dtype=torch.float64) + 0.5) * old / new - 0.5).clamp(0, old - 1)
    distance = (place[:, None] - torch.arange(old, dtype=torch.float64)).abs()
    return (1 - distance).clamp(min=0).float()


def smoothing(size: int, sigma: float) -> Tensor:
    """The matrix (size, size) of a Gaussian along an axis, reflected at the ends; `sigma` is in pixels."""
    reach = int(REACH * sigma + 0.5)
    step = torch.arange(-reach, reach + 1, dtype=torch.float64)
    kernel = torch.exp(-0.5 * (step / sigma) ** 2)
    kernel /= kernel.sum()
    place = (torch.arange(size)[:, None] + step.long()) % (2 * size)
    place = torch.minimum(place, 2 * size - 1 - place)
    matrix = torch.zeros(size, size, dtype=torch.float64)
    return matrix.scatter_add_(1, place, kernel.expand(size, -1)).float()


class Contrasts(nn.Module):
    """Differences of Gaussians, each over the picture's own typical contrast and the usual one of the place.

    A small stain on a coarse texture is no stronger than the texture of another picture; it is strong for its own.
    `usual`, (filters, height, width), is the root mean square of each contrast over the fitting pictures.
    """

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        sigmas = [(s, s) for s in SCALES] + [(s * y, s * x) for y, x in AROUND for s in SCALES]
        self.down = nn.Buffer(torch.stack([smoothing(height, y) for y, _ in sigmas]), persistent=False)
        self.across = nn.Buffer(torch.stack([smoothing(width, x).T for _, x in sigmas]), persistent=False)
        self.usual = nn.Buffer(torch.ones(FILTERS, height, width))

    def own(self, standard: Tensor) -> Tensor:
        """Contrasts of standardised pictures, (n, channels, height, width), over each one's own: (n, filters, ...)."""
        smooth = self.down @ standard.unsqueeze(2) @ self.across
        middle, around = smooth[:, :, : len(SCALES)], smooth[:, :, len(SCALES) :]
        contrast = (torch.cat([middle] * len(AROUND), dim=2) - around).square().sum(1).clamp(min=1e-12).sqrt()
        typical = contrast.sqrt().mean((2, 3), keepdim=True).square()
        return contrast / (typical + LEAST)

    def forward(self, standard: Tensor) -> tuple[Tensor, Tensor]:
        """The logarithm of each contrast where it is strongest, (n, filters), and of the strongest contrast of each
        place, (n, height, width).
        """
        strength = self.own(standard) / self.usual
        strongest = strength.flatten(2).topk(STRONGEST, dim=2).values.mean(2)
        return strongest.clamp(min=LEAST).log(), strength.amax(1).clamp(min=LEAST).log()

    def fit(self, network: "PictureVAE", x: Tensor) -> None:
        """Take what is usual from encoded pictures, (n, width): smoothed, with a floor."""
        square = torch.zeros_like(self.usual)
        for rows in in_parts(x):
            square += self.own(standardise(network.pictures(rows))).square().sum(0)
        square /= len(x)
        height, width = square.shape[1:]
        usual = resize(square.sqrt(), smoothing(height, PLACE_SIGMA), smoothing(width, PLACE_SIGMA))
        self.usual.copy_(usual + PLACE_FLOOR * square.mean((1, 2), keepdim=True).sqrt() + 1e-6)


class PlaceEvidence(Evidence):
    """How far each cell of a grid over a picture is off, and how strong its contrasts are, in robust standard units.

    The last row and column of cells may be narrower than the others.
    """

    grid: tuple[int, int]

    def __init__(self, picture: tuple[int, int], small: tuple[int, int], places: tuple[int, int]) -> None:
        """For pictures of a height and width, which a network sees `small`; distances are given of `places`."""
        super().__init__()
        self.cell = tuple(math.ceil(side / MOST_SIDE_CELLS) for side in picture)
        rows, columns = self.grid = math.ceil(picture[0] / self.cell[0]), math.ceil(picture[1] / self.cell[1])
        self.contrasts = Contrasts(*picture)
        self.cell_center = nn.Buffer(torch.zeros(2, 1))  # a cell's usual distance and contrast on new pictures
        self.cell_scale = nn.Buffer(torch.ones(2, 1))
        self.cell_rows = nn.Buffer(smoothing(rows, CELL_BLUR) @ averaging(rows, places[0]), persistent=False)
        self.cell_columns = nn.Buffer(smoothing(columns, CELL_BLUR) @ averaging(columns, places[1]), persistent=False)
        self.blur_rows = nn.Buffer(smoothing(small[0], BLUR), persistent=False)
        self.blur_columns = nn.Buffer(smoothing(small[1], BLUR), persistent=False)

    def residual(self, network: "PictureVAE", view: View) -> Tensor:
        """The residual of the reconstruction in each place, a little blurred, squared: (n, height, width)."""
        left = view.inputs - network.small_pictures(view.likelihood)
        return resize(left, self.blur_rows, self.blur_columns).square().sum(1)

    def cells(self, distances: Tensor, contrasts: Tensor) -> Tensor:
        """The logarithms of each cell's squared distance and of its strongest contrast, (n, 2, rows columns).

        Of the distances of places and the contrasts of pixels, (n, height, width) each; the former a little smoothed.
        """
        smooth = resize(distances, self.cell_rows, self.cell_columns)
        strongest = functional.max_pool2d(contrasts.unsqueeze(1), self.cell, self.cell, ceil_mode=True)
        return torch.stack([(smooth + LEAST_DISTANCE).log().flatten(1), strongest.flatten(1)], dim=1)

    def terms(self, cells: Tensor) -> Tensor:
        """The evidence against each cell, (n, rows columns), of what `cells` gives."""
        apart, strong = ((cells - self.cell_center) / self.cell_scale).unbind(1)
        return apart + functional.relu(strong - 1)

    def forward(self, network: "PictureVAE", x: Tensor, view: View) -> Tensor:
        return self.terms(self._residual_cells(network, x, view))

    def _residual_cells(self, network: "PictureVAE", x: Tensor, view: View) -> Tensor:
        _, contrasts = self.contrasts(standardise(network.pictures(x)))
        return self.cells(self.residual(network, view), contrasts)

    def fit(self, network: "PictureVAE", x: Tensor, held: Tensor) -> None:
        new = x[held[:HELD]]
        self.contrasts.fit(network, new)
        self.fit_cells(torch.cat([self._residual_cells(network, part, network.see(part)) for part in in_parts(new)]))

    def fit_cells(self, cells: Tensor) -> None:
        """Take what is usual for a cell from new pictures, as `cells` gives them."""
        for kind, values in enumerate(cells.unbind(1)):
            sample = values.flatten()[:: max(1, values.numel() // MOST_CELLS)]
            self.cell_center[kind], self.cell_scale[kind] = robust(sample)


class PictureShape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The sizes of a picture and of its network."""

    height: int
    width: int
    channels: Literal[1, 3]
    hidden: int
    latent: int
    sigma: float | None = None  # standard deviation of a pixel of a standardised picture; None where it is learned
    build: LayerBuild = DEFAULT

    @property
    def size(self) -> tuple[int, int]:
        return self.height, self.width

    @property
    def small(self) -> tuple[int, int]:
        """Height and width at which the network sees a picture."""
        return min(self.height, MOST_SIDE), min(self.width, MOST_SIDE)


class PictureLikelihood(NamedTuple):
    """p(x | z): independent Gaussians, of the standardised picture."""

    mean: Tensor  # (1, n, values)
    log_sigma: Tensor  # (): one for all pixels


def _dense(inputs: int, hidden: int, outputs: int, *last: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.SiLU(), nn.Linear(hidden, outputs), *last)


class PictureVAE(Network):
    """Encoder, decoder and likelihood (Kingma and Welling, 2014), of pictures that are standardised one by one.

    Its inputs are the standardised pictures at the size at which it sees them, (n, channels, height, width). The
    decoder grows by sub-pixel convolution (Shi et al., 2016); the learned variance is that of Rybkin et al., Simple and
    Effective VAE Training with Calibrated Decoders, 2021.
    """

    modality = "image"
    shape_type: ClassVar[type[msgspec.Struct]] = PictureShape
    batch_rows = 64
    members = 1
    shape: PictureShape

    def __init__(self, shape: PictureShape) -> None:
        super().__init__()
        self.shape = shape
        self.latent = shape.latent
        (height, width), c = shape.small, CHANNELS
        self.values = self.columns = shape.channels * height * width
        self.coarse = ((height + 3) // 4, (width + 3) // 4)
        flat = 2 * c * self.coarse[0] * self.coarse[1]
        further, build = range(shape.build.depth - 1), shape.build
        self.encoder = nn.Sequential(
            Convolution(shape.channels, c, 2, build),
            Convolution(c, 2 * c, 2, build),
            *(Convolution(2 * c, 2 * c, 1, build) for _ in further),
            nn.Flatten(),
        )
        self.posterior_head = _dense(flat, shape.hidden, self.code_numbers * shape.latent)
        self.decoder_head = _dense(shape.latent, shape.hidden, flat, nn.SiLU())
        self.decoder = nn.Sequential(
            Convolution(2 * c, 4 * c, 1, build),
            nn.PixelShuffle(2),
            *(Convolution(c, c, 1, build) for _ in further),
            nn.Conv2d(c, 4 * shape.channels, 3, 1, 1),
        )
        self.finest = nn.PixelShuffle(2)
        if shape.sigma is None:
            self.slow_log_sigma = nn.Parameter(torch.tensor(-0.5 / SIGMA_PACE))
        self.shrink_rows = nn.Buffer(averaging(height, shape.height), persistent=False)
        self.shrink_columns = nn.Buffer(averaging(width, shape.width), persistent=False)
        self.grow_rows = nn.Buffer(spreading(shape.height, height), persistent=False)
        self.grow_columns = nn.Buffer(spreading(shape.width, width), persistent=False)

    @classmethod
    def untrained(cls, schema: Schema, sizes: Sizes) -> Self:
        """Raises TypeError if the schema is none of a picture."""
        image = schema.columns[0]
        if not isinstance(image, ImageColumn):
            raise TypeError(f"the network takes pictures, and {image.name!r} is of kind {image.kind}")
        seen = image.channels * min(image.height, MOST_SIDE) * min(image.width, MOST_SIDE)
        hidden, latent = sizes.hidden or HIDDEN, sizes.latent or latent_size(seen)
        return cls(PictureShape(image.height, image.width, image.channels, hidden, latent, sizes.sigma, sizes.build))

    def pictures(self, x: Tensor) -> Tensor:
        """Encoded records, (..., height width channels), as pictures (n, channels, height, width) from 0 to 1."""
        return x.reshape(-1, *self.shape.size, self.shape.channels).permute(0, 3, 1, 2).contiguous()

    def inputs(self, x: Tensor) -> Tensor:
        standard = standardise(self.pictures(x))
        if self.shape.small == self.shape.size:
            return standard
        return resize(standard, self.shrink_rows, self.shrink_columns)

    def encode(self, inputs: Tensor) -> Posterior:
        numbers = self.posterior_head(self.encoder(inputs)).unsqueeze(0)
        return self.posterior_of(numbers.chunk(self.code_numbers, dim=-1))

    def decode(self, z: Tensor) -> PictureLikelihood:
        return PictureLikelihood(self.decoded_pixels(z), self.log_deviation())

    def log_deviation(self) -> Tensor:
        """The log standard deviation of all pixels, ()."""
        if self.shape.sigma is None:
            return (SIGMA_PACE * self.slow_log_sigma).clamp(*LOG_SIGMA)
        return torch.full((), math.log(self.shape.sigma), device=self.device)

    def decoded_pixels(self, z: Tensor) -> Tensor:
        """A number for each pixel, (1, n, values)."""
        height, width = self.shape.small
        h = self.decoder_head(z.squeeze(0)).reshape(-1, 2 * CHANNELS, *self.coarse)
        pixels: Tensor = self.finest(self.decoder(h))[..., :height, :width].flatten(1).unsqueeze(0)
        return pixels

    def surprise(self, inputs: Tensor, likelihood: PictureLikelihood) -> Tensor:
        residual = inputs.flatten(1) - likelihood.mean
        log_sigma = likelihood.log_sigma
        return 0.5 * residual.square() * (-2 * log_sigma).exp() + log_sigma + HALF_LOG_TWO_PI

    def expected(self, x: Tensor, likelihood: PictureLikelihood) -> Tensor:
        """The reconstruction with each picture's own brightness and contrast, from 0 to 1: (n, features)."""
        return self.lit(self.small_pictures(likelihood), *self.light(x))

    def light(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Brightness and contrast of encoded pictures, (n, width): mean and standard deviation, (n, 1, 1, 1) each."""
        pixels = self.pictures(x)
        mean = pixels.mean((1, 2, 3), keepdim=True)
        return mean, (pixels - mean).square().mean((1, 2, 3), keepdim=True).sqrt()

    def lit(self, small: Tensor, mean: Tensor, spread: Tensor) -> Tensor:
        """Standardised pictures, (n, channels, height, width), in a light and at their full size: (n, features)."""
        seen = resize(small, self.grow_rows, self.grow_columns) * spread + mean
        return seen.clamp(0, 1).permute(0, 2, 3, 1).flatten(1)

    @property
    def code_size(self) -> int:
        """Brightness and contrast are not in the posterior: they follow its mean."""
        return self.latent + 2

    @property
    def noise_size(self) -> int:
        return self.values

    def code_of(self, x: Tensor, posterior: Posterior) -> Tensor:
        return torch.cat([posterior.mean[0], *(part.flatten(1) for part in self.light(x))], dim=-1)

    def decoded(self, code: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """The noise of what is drawn is as coarse as the network's own pixels."""
        latent, mean, spread = torch.split(code, [self.latent, 1, 1], dim=-1)
        likelihood = self.decode(latent.unsqueeze(0))
        small = self.small_pictures(likelihood)
        drawn = small + likelihood.log_sigma.exp() * noise.reshape(-1, self.shape.channels, *self.shape.small)
        mean, spread = mean[..., None, None], spread[..., None, None]
        return self.lit(small, mean, spread), self.lit(drawn, mean, spread)

    def small_pictures(self, likelihood: PictureLikelihood) -> Tensor:
        """The mean of a likelihood as standardised pictures, (n, channels, height, width), as small as it sees them."""
        return likelihood.mean.reshape(-1, self.shape.channels, *self.shape.small)

    def target(self, inputs: Tensor) -> Tensor:
        return inputs.flatten(1)

    def center(self, likelihood: PictureLikelihood) -> Tensor:
        return self.small_pictures(likelihood).flatten(1)

    def evidence(self) -> PlaceEvidence:
        return PlaceEvidence(self.shape.size, self.shape.small, self.shape.small)
