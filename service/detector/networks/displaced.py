"""A memory of pictures, and how far a picture is from them when small parts of it may move a little."""

import msgspec
import torch
from torch import Tensor, nn
from torch.nn import functional

from kilter.service.detector.networks.pixels import averaging, resize, smoothing

MOST_SIDE = 64
BLUR = 0.7
SHIFT = 1
"""Every part of a picture may move by so many pixels."""
PATCH = 5
"""Parts that move as one are so many pixels wide."""
FLOOR = 1e-6


class PicturesShape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What rebuilds the memory."""

    height: int
    width: int
    channels: int
    rows: int
    candidates: int
    """Pictures nearest without any move, that are looked at with moves."""

    @property
    def small(self) -> tuple[int, int]:
        """Height and width at which pictures are compared."""
        return min(self.height, MOST_SIDE), min(self.width, MOST_SIDE)

    @property
    def width_of_a_row(self) -> int:
        """Number of floats of a picture in the memory."""
        return self.channels * self.small[0] * self.small[1]


class Pictures(nn.Module):
    """Nearest neighbours under the image distortion model (Keysers et al., Deformation Models for Image Recognition,
    2007): the squared difference of patches, each at the best of the displacements by up to `SHIFT` pixels.
    """

    rows: Tensor
    half_square: Tensor
    shrink_rows: Tensor
    shrink_columns: Tensor

    def __init__(self, shape: PicturesShape) -> None:
        super().__init__()
        self.shape = shape
        height, width = shape.small
        self.register_buffer("rows", torch.zeros(shape.rows, shape.width_of_a_row))
        self.register_buffer("half_square", torch.zeros(shape.rows))
        for name, new, old in (("shrink_rows", height, shape.height), ("shrink_columns", width, shape.width)):
            self.register_buffer(name, smoothing(new, BLUR) @ averaging(new, old), persistent=False)

    def index(self) -> None:
        """Take the squares of the rows, once those stand."""
        self.half_square.copy_(0.5 * self.rows.square().sum(1))

    def see(self, standard: Tensor) -> Tensor:
        """Standardised pictures, (n, channels, height, width), as they are compared: smaller and a little blurred."""
        return resize(standard, self.shrink_rows, self.shrink_columns)

    def forward(self, seen: Tensor, own: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The distance to the nearest picture, (n,), and the least distance of each place, (n, height, width), squared.

        `own`, (n,), is the position of the row that a picture is itself, which is left out, or -1.
        """
        rough = self.half_square - seen.flatten(1) @ self.rows.T
        if own is not None:
            inside = own >= 0
            rough[inside, own[inside]] = torch.inf
        found = rough.topk(self.shape.candidates, dim=1, largest=False).indices
        (height, width), channels = self.shape.small, self.shape.channels
        kept = functional.embedding(found, self.rows).reshape(-1, channels, height, width)
        kept = functional.pad(kept, (SHIFT,) * 4, mode="replicate")
        kept = kept.reshape(-1, self.shape.candidates, channels, height + 2 * SHIFT, width + 2 * SHIFT)
        best: Tensor | None = None
        for down in range(2 * SHIFT + 1):
            for right in range(2 * SHIFT + 1):
                moved = kept[..., down : down + height, right : right + width]
                apart = (seen.unsqueeze(1) - moved).square().sum(2)
                apart = functional.avg_pool2d(apart, PATCH, 1, PATCH // 2, count_include_pad=False)
                best = apart if best is None else torch.minimum(best, apart)
        assert best is not None  # noqa: S101 (there is always a shift of nothing)
        return best.sum((2, 3)).amin(1).clamp(min=FLOOR), best.amin(1)
