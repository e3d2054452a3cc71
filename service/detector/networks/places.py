"""The evidence against the places of a picture: contrasts that are too strong, and what a network leaves over."""

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from kilter.service.detector.networks.base import Evidence, View
from kilter.service.detector.networks.pixels import BLUR, averaging, in_parts, resize, smoothing, standardise
from kilter.service.detector.networks.points import robust

if TYPE_CHECKING:
    from kilter.service.detector.networks.pictures import PictureVAE

SCALES = (0.7, 1.0, 1.5, 2.0)
"""Standard deviations in pixels of what stands in the middle of a filter."""
AROUND = ((2.0, 2.0), (4.0, 1.0), (1.0, 4.0))
"""The surroundings that it is held against: all round, along the rows' direction, along the columns'."""
FILTERS = len(SCALES) * len(AROUND)
STRONGEST = 2
LEAST = 1e-3
PLACE_SIGMA = 2.0
"""What is usual for a place is smoothed over its surroundings: so many pixels."""
PLACE_FLOOR = 0.05
"""Least share of a filter's overall contrast that is usual in any place."""
CELL_BLUR = 1.0
MOST_SIDE_CELLS = 32
"""Most cells a side of the grid on which evidence is given."""
LEAST_DISTANCE = 1e-4
HELD = 400
"""Most new pictures on which measures are made standard."""
MOST_CELLS = 1_000_000
"""Cells by which their evidence is made standard."""


class Contrasts(nn.Module):
    """Differences of Gaussians, each over the picture's own typical contrast and the usual one of the place.

    A small stain on a coarse texture is no stronger than the texture of another picture; it is strong for its own.
    """

    down: Tensor
    across: Tensor
    usual: Tensor
    """(filters, height, width): root mean square of each contrast over the fitting pictures."""

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        sigmas = [(s, s) for s in SCALES] + [(s * y, s * x) for y, x in AROUND for s in SCALES]
        down = torch.stack([smoothing(height, y) for y, _ in sigmas])
        across = torch.stack([smoothing(width, x).T for _, x in sigmas])
        self.register_buffer("down", down, persistent=False)
        self.register_buffer("across", across, persistent=False)
        self.register_buffer("usual", torch.ones(FILTERS, height, width))

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
    """How far each cell of a grid over a picture is off, and how strong its contrasts are, in robust standard units."""

    grid: tuple[int, int]
    """The last row and column of cells may be narrower."""
    cell_center: Tensor
    """(2, 1): the usual distance and contrast of a cell on new pictures."""
    cell_scale: Tensor
    cell_rows: Tensor
    cell_columns: Tensor
    blur_rows: Tensor
    blur_columns: Tensor

    def __init__(self, picture: tuple[int, int], small: tuple[int, int], places: tuple[int, int]) -> None:
        """For pictures of a height and width, which a network sees `small`; distances are given of `places`."""
        super().__init__()
        self.cell = tuple(math.ceil(side / MOST_SIDE_CELLS) for side in picture)
        rows, columns = (math.ceil(side / cell) for side, cell in zip(picture, self.cell, strict=True))
        self.grid = (rows, columns)
        self.contrasts = Contrasts(*picture)
        self.register_buffer("cell_center", torch.zeros(2, 1))
        self.register_buffer("cell_scale", torch.ones(2, 1))
        for name, new, old in zip(("cell_rows", "cell_columns"), self.grid, places, strict=True):
            self.register_buffer(name, smoothing(new, CELL_BLUR) @ averaging(new, old), persistent=False)
        for name, size in zip(("blur_rows", "blur_columns"), small, strict=True):
            self.register_buffer(name, smoothing(size, BLUR), persistent=False)

    def residual(self, network: "PictureVAE", view: View) -> Tensor:
        """What the reconstruction leaves of each place, a little blurred, squared: (n, height, width)."""
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
