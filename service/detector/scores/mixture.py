"""A mixture of Gaussians with full covariances: the relations that are linear, and groups of rows."""

import msgspec
import numpy as np
import torch
from torch import Tensor, nn

from kilter.service.detector.scores.base import MixtureFit

COMPONENTS = 5
MOST_AXES = 256  # with more axes there is none: its matrices would be larger than all else
MOST_ROWS = 5_000  # rows to which it is fitted


class FullMixtureShape(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="mixture"):
    """The sizes of a mixture."""

    axes: int
    components: int


class FullMixture(nn.Module):
    """-log density of points under a mixture of Gaussians, up to a constant."""

    def __init__(self, shape: FullMixtureShape) -> None:
        super().__init__()
        self.shape = shape
        axes = shape.axes
        self.whitening = nn.Buffer(torch.zeros(axes, shape.components * axes))
        self.offset = nn.Buffer(torch.zeros(shape.components * axes))
        self.log_weight = nn.Buffer(torch.zeros(shape.components))

    def forward(self, points: Tensor) -> Tensor:
        """-log density of points, (n, axes), up to a constant: (n,)."""
        white = torch.addmm(self.offset, points, self.whitening)
        square = white.reshape(-1, self.shape.components, self.shape.axes).square().sum(2)
        return -torch.logsumexp(self.log_weight - 0.5 * square, dim=1)


def build_mixture(points: Tensor, fit: MixtureFit, seed: int) -> FullMixture:
    """A mixture fitted to points, (n, axes), or to a random sample of them."""
    count, axes = points.shape
    mixture = FullMixture(FullMixtureShape(axes, max(1, min(COMPONENTS, count // COMPONENTS))))
    kept = np.sort(np.random.default_rng(seed).permutation(count)[:MOST_ROWS])
    gaussians = fit(points[torch.from_numpy(kept)].numpy(), mixture.shape.components, seed)
    whitening = torch.from_numpy(gaussians.whitening)
    offset = -(torch.from_numpy(gaussians.means).unsqueeze(1) @ whitening).squeeze(1)
    volume = whitening.diagonal(dim1=1, dim2=2).log().sum(1)
    log_weight = torch.from_numpy(gaussians.weights).clamp(min=1e-12).log() + volume
    mixture.whitening.copy_(whitening.transpose(0, 1).reshape(axes, -1).float())
    mixture.offset.copy_(offset.flatten().float())
    mixture.log_weight.copy_((log_weight - log_weight.max()).float())
    return mixture
