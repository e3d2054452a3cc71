"""What is done to pictures in the same way wherever it is done: standardised, brought to a size, smoothed.

Sizes and widths are fixed when a network is built, so that each of these is a product with constant matrices.
"""

import torch
from torch import Tensor

LEAST_CONTRAST = 0.02
"""Added to a picture's standard deviation, of pixels from 0 to 1: an even one has no contrast to make standard."""
REACH = 4.0
"""A Gaussian's kernel ends at so many standard deviations."""
BLUR = 0.7
"""Standard deviation in pixels by which pictures are blurred before they are compared."""
CHUNK_VALUES = 262_144
"""Values of encoded pictures that are looked at together."""


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
