"""Tests of `detector.scores.surprise`: evidence as -log of its p-value."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kilter.service.detector.scores.surprise import Surprise


def usual(*parts: torch.Tensor) -> Surprise:
    """What is usual for pieces of evidence with these values."""
    surprise = Surprise(len(parts))
    surprise.fit(torch.stack(parts, dim=1))
    return surprise


def test_within_the_bulk_it_is_that_of_the_empirical_p_value() -> None:
    """Whatever the unit and the shape of a piece of evidence: only its order counts there."""
    uniform = torch.linspace(0, 1, 1001)
    surprise = usual(uniform, 100 * uniform - 7, uniform.exp())
    for share in (0.1, 0.5, 0.8, 0.9):
        found = surprise(torch.tensor([[share, 100 * share - 7, math.exp(share)]]))
        assert found[0].tolist() == pytest.approx([-math.log(1 - share)] * 3, abs=0.05)


def test_beyond_the_bulk_it_grows_as_a_logarithm() -> None:
    """A value a thousand times as far out says a few nats more, so that it does not drown other evidence."""
    surprise = usual(torch.randn(2_000, generator=torch.Generator().manual_seed(0)))
    near, far, farther = surprise(torch.tensor([[4.0], [4e3], [4e6]])).flatten().tolist()
    assert 2.3 < near < far < farther
    assert farther - far == pytest.approx(math.log(1e3), abs=0.01)


@given(
    values=st.lists(st.floats(-100, 100, width=32), min_size=2, max_size=40),
    new=st.lists(st.floats(-1e6, 1e6, width=32), min_size=2, max_size=20),
)
def test_more_evidence_is_never_less_surprising(values: list[float], new: list[float]) -> None:
    """Nor negative nor infinite, also where usual values are few or all the same."""
    surprise = usual(torch.tensor(values))
    found = surprise(torch.tensor(sorted(new)).unsqueeze(1)).flatten()
    assert torch.isfinite(found).all()
    assert (found >= 0).all()
    assert (found.diff() >= -1e-5).all()


def test_a_rounding_error_decides_nothing() -> None:
    """Half of the usual values are the same, as distances to copies are."""
    surprise = usual(torch.cat([torch.zeros(500), torch.rand(500)]))
    one, other = surprise(torch.tensor([[0.0], [1e-6]])).flatten().tolist()
    assert abs(one - other) < 1e-3
