"""What hidden layers are made of: how many there are, and what stands between them.

Tables have their own, which work for several members at once; those of pictures are convolutions.
"""

from collections.abc import Sequence

import msgspec
import torch
from torch import Tensor, nn

PACE = 0.1  # share of the usual mean and variance that a batch makes anew
LEAST_VARIANCE = 1e-5


class LayerBuild(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the hidden layers of an encoder and of a decoder are built."""

    depth: int = 2
    """Hidden layers that are as wide as the one before: of a table all, of pictures convolutions of one size."""
    skip: bool = False
    """Whether layers whose outputs are as wide as their inputs add to these (He et al., 2016)."""
    batch_norm: bool = False
    """Whether units are standardised over a batch (Ioffe and Szegedy, 2015)."""
    dropout: float = 0.0
    """Share of the units that are 0 in a step (Srivastava et al., 2014)."""

    def between(self, units: Sequence[int], over: Sequence[int]) -> tuple["BatchNorm | None", "Dropout | None"]:
        """What comes before and after an activation; `units` and `over` as of `BatchNorm`."""
        norm = BatchNorm(units, over) if self.batch_norm else None
        return norm, Dropout(self.dropout) if self.dropout else None


DEFAULT = LayerBuild()


class BatchNorm(nn.Module):
    """Standardises units over a batch, and with what is usual once they are fitted, in plain products and sums."""

    def __init__(self, units: Sequence[int], over: Sequence[int]) -> None:
        """`units`: the sizes of what is standardised, with 1 where it is done `over` a dimension."""
        super().__init__()
        self.over = tuple(over)
        self.gain, self.shift = nn.Parameter(torch.zeros(*units)), nn.Parameter(torch.zeros(*units))
        self.mean, self.variance = nn.Buffer(torch.zeros(*units)), nn.Buffer(torch.ones(*units))

    def forward(self, h: Tensor) -> Tensor:
        mean: Tensor = self.mean
        variance: Tensor = self.variance
        if self.training:
            mean, variance = h.mean(self.over, keepdim=True), h.var(self.over, correction=0, keepdim=True)
            with torch.no_grad():
                self.mean.lerp_(mean, PACE)
                self.variance.lerp_(variance, PACE)
        return (h - mean) * (variance + LEAST_VARIANCE).rsqrt() * (1 + self.gain) + self.shift


class Dropout(nn.Module):
    """Units that are 0 in a step by chance: that of the step's number, so that a fit that is taken up goes on alike."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share
        self.batches = nn.Buffer(torch.zeros((), dtype=torch.int64))

    def forward(self, h: Tensor) -> Tensor:
        if not self.training:
            return h
        self.batches.add_(1)
        chance = torch.Generator(h.device).manual_seed(int(self.batches))
        kept = torch.rand(h.shape, generator=chance, device=h.device) >= self.share
        return h * kept / (1 - self.share)


class Layers(nn.Module):
    """Hidden layers with SiLU, for all members at once: (members, n, inputs) to (members, n, outputs)."""

    def __init__(self, members: int, inputs: int, hidden: int, outputs: int, build: LayerBuild = DEFAULT) -> None:
        super().__init__()
        self.skip = build.skip
        sizes = [(inputs, hidden), *[(hidden, hidden)] * (build.depth - 1), (hidden, outputs)]
        self.weights = nn.ParameterList(
            nn.Parameter(torch.randn(members, a, b) * (2.0 / (a + b)) ** 0.5) for a, b in sizes
        )
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(members, 1, b)) for _, b in sizes)
        between = [build.between((members, 1, hidden), (1,)) for _ in range(build.depth)]
        self.norms = nn.ModuleList(norm for norm, _ in between if norm is not None)
        self.dropouts = nn.ModuleList(dropout for _, dropout in between if dropout is not None)

    def forward(self, h: Tensor, sizes: Sequence[int]) -> list[Tensor]:
        """The outputs in parts of some sizes, (members, n, size) each; `h` is of all members, or the same for each."""
        for place in range(len(self.weights) - 1):
            h = self.joined(place, h, self.activated(place, h))
        return self.outputs(h, sizes)

    def outputs(self, h: Tensor, sizes: Sequence[int]) -> list[Tensor]:
        """What the last layer makes of its inputs, in parts of some sizes."""
        return list(torch.split(self.product(-1, h), list(sizes), dim=-1))

    def product(self, place: int, h: Tensor) -> Tensor:
        """Inputs of a layer by its weights, with its biases."""
        weight = self.weights[place]
        return torch.baddbmm(self.biases[place], h.expand(len(weight), -1, -1), weight)

    def activated(self, place: int, h: Tensor) -> Tensor:
        """What a hidden layer makes of its inputs."""
        h = self.product(place, h)
        h = self.norms[place](h) if self.norms else h
        h = h * torch.sigmoid(h)
        return self.dropouts[place](h) if self.dropouts else h

    def joined(self, place: int, before: Tensor, h: Tensor) -> Tensor:
        """What goes into the next layer: with skips also what went into this one, if that is as wide."""
        return before + h if self.skip and place else h


class Convolution(nn.Sequential):
    """A convolution of pictures, (n, channels, height, width), with SiLU. It comes first, as artifacts name it."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1, build: LayerBuild = DEFAULT) -> None:
        super().__init__(nn.Conv2d(inputs, outputs, 3, stride, 1))
        self.norm, self.dropout = build.between((1, outputs, 1, 1), (0, 2, 3))
        self.skip = build.skip and inputs == outputs and stride == 1

    def forward(self, pictures: Tensor) -> Tensor:
        h = self[0](pictures)
        h = nn.functional.silu(h if self.norm is None else self.norm(h))
        h = h if self.dropout is None else self.dropout(h)
        return pictures + h if self.skip else h
