"""How far a point is from all that rows span, where these are too few for more than that."""

import msgspec
import torch
from torch import Tensor, nn

SHARE = 0.999  # of the variance of the rows, which the span holds
MOST_DIRECTIONS = 256
LEAST_LEFT_OUT = 1e-6  # least variance beyond the span, over that of all rows


class SpanShape(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="span"):
    """The sizes of a span."""

    axes: int
    directions: int


class Span(nn.Module):
    """The logarithm of the distance of points, (n, axes), from the subspace in which rows vary: (n,).

    The variance of the rows beyond it is added to the square, so that no rounding error decides.
    """

    def __init__(self, shape: SpanShape) -> None:
        super().__init__()
        self.shape = shape
        self.center = nn.Buffer(torch.zeros(shape.axes))
        self.directions = nn.Buffer(torch.zeros(shape.axes, shape.directions))  # orthonormal
        self.left_out = nn.Buffer(torch.ones(()))

    def forward(self, points: Tensor) -> Tensor:
        centred = points - self.center
        rest = centred.square().sum(1) - (centred @ self.directions).square().sum(1)
        return (rest.clamp(min=0) + self.left_out).log() / 2


def build_span(points: Tensor) -> Span:
    """The principal subspace of points, (n, axes), n at least 2, that holds `SHARE` of their variance."""
    rows = points.double()
    center = rows.mean(0)
    singular, vectors = torch.linalg.svd(rows - center, full_matrices=False)[1:]
    variances = singular.square() / len(rows)
    total = float(variances.sum())
    count = int((variances.cumsum(0) < SHARE * total).sum()) + 1
    count = max(1, min(count, MOST_DIRECTIONS, len(variances)))
    span = Span(SpanShape(points.shape[1], count))
    span.center.copy_(center)
    span.directions.copy_(vectors[:count].T)
    span.left_out.fill_(max(float(variances[count:].sum()), LEAST_LEFT_OUT * max(total, 1.0)))
    return span
