"""Tests of `detector.scores.span`: the distance from what rows span."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.decomposition import PCA

from kilter.service.detector.scores.span import MOST_DIRECTIONS, SHARE, Span, build_span


def drawn(rows: int, axes: int, rank: int, noise: float = 0.0, seed: int = 0) -> torch.Tensor:
    """Points about a random subspace that misses the origin."""
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(rows, rank, generator=generator) @ torch.randn(rank, axes, generator=generator) + 3
    return points + noise * torch.randn(rows, axes, generator=generator)


def values(span: Span, points: torch.Tensor) -> torch.Tensor:
    """What a span says of points."""
    with torch.no_grad():
        found: torch.Tensor = span(points)
    return found


def test_it_is_the_residual_of_scikit_learns_principal_components() -> None:
    """Of as many as hold the share of the variance, with the variance left out beside it."""
    points = drawn(60, 80, 60)
    span = build_span(points)
    peer = PCA(n_components=SHARE, svd_solver="full").fit(points.double().numpy())
    assert span.shape.directions == peer.n_components_
    new = drawn(20, 80, 60, seed=1).double().numpy()
    square = ((new - peer.inverse_transform(peer.transform(new))) ** 2).sum(1)
    want = torch.from_numpy(square + float(span.left_out)).log() / 2
    torch.testing.assert_close(values(span, torch.from_numpy(new).float()).double(), want, rtol=1e-3, atol=1e-3)


@given(rank=st.integers(1, 5), seed=st.integers(0, 99))
def test_what_lies_in_the_span_is_nearer_than_what_does_not(rank: int, seed: int) -> None:
    """However far out in it; and rounding errors of exact relations tell nothing apart."""
    span = build_span(drawn(30, 40, rank, seed=seed))
    generator = torch.Generator().manual_seed(seed)
    steps = torch.randn(20, span.shape.directions, generator=generator)
    inside = span.center + steps @ span.directions.T
    found = values(span, inside)
    assert float(found.max() - found.min()) < 0.5
    off = values(span, inside + torch.randn(20, 40, generator=generator))
    assert float(off.min()) > float(found.max()) + 1


@pytest.mark.parametrize("points", [torch.zeros(5, 8), torch.ones(2, 8)], ids=["zeros", "copies"])
def test_rows_that_are_all_the_same_span_a_point(points: torch.Tensor) -> None:
    """What is elsewhere is farther, and all is finite."""
    span = build_span(points)
    here, away = values(span, torch.stack([points[0], points[0] + 3]))
    assert torch.isfinite(here)
    assert away > here


def test_directions_are_bounded() -> None:
    """A very wide table does not make a very large program."""
    assert build_span(torch.randn(400, 500, generator=torch.Generator().manual_seed(0))).shape.directions <= (
        MOST_DIRECTIONS
    )
