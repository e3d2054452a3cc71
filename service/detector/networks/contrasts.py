"""Local contrasts of a picture at several scales and in two directions, against what is usual for it and its place."""

import torch
from torch import Tensor, nn

from kilter.service.detector.networks.pixels import smoothing

SCALES = (0.7, 1.0, 1.5, 2.0)
"""Standard deviations in pixels of what stands in the middle of a filter."""
AROUND = ((2.0, 2.0), (4.0, 1.0), (1.0, 4.0))
"""The surroundings that it is held against: all round, along the rows' direction, along the columns'."""
FILTERS = len(SCALES) * len(AROUND)
STRONGEST = 2
LEAST = 1e-3


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
