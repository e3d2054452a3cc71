"""Tests of `service.detector.networks.marginals`."""

import math

import pytest
import torch

from service.detector.networks.marginals import Marginals, MarginalsShape

NAN, INF = float("nan"), float("inf")


@pytest.fixture
def marginals() -> Marginals:
    """A number in four bins over [0, 2] and a level with two codes; a bin's surprise is its position."""
    marginals = Marginals(MarginalsShape((4, 2)))
    marginals.low.copy_(torch.tensor([0.0, -0.5]))
    marginals.per_unit.copy_(torch.tensor([2.0, 1.0]))
    marginals.table.copy_(torch.tensor([90.0, 1, 2, 3, 4, 91, 92, 10, 20, 93]))
    marginals.missing.copy_(torch.tensor([7.0, 8.0]))
    marginals.usual.copy_(torch.tensor([0.5, 0.6]))
    return marginals


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.0, 1), (0.49, 1), (0.5, 2), (1.99, 4), (2.1, 91), (-0.1, 90), (1e6, 91), (NAN, 7), (INF, 0.5)],
)
def test_a_number_has_the_surprise_of_its_bin(value: float, expected: float, marginals: Marginals) -> None:
    """Below, above, missing and hidden have bins of their own."""
    surprise = marginals.surprise(torch.tensor([[value, 0.0]]))
    assert surprise[0].tolist() == [expected, 10]


def test_an_unseen_level_is_beyond_the_last_bin(marginals: Marginals) -> None:
    """Its code is the number of levels."""
    assert marginals.surprise(torch.tensor([[0.1, 1.0], [0.1, 2.0]]))[:, 1].tolist() == [20, 93]


def test_evidence_is_the_sum_in_standard_units(marginals: Marginals) -> None:
    """Centred and scaled."""
    marginals.center, marginals.scale = torch.tensor(5.0), torch.tensor(2.0)
    assert marginals(torch.tensor([[0.0, 0.0]])).item() == pytest.approx((11 - 5) / 2)
    assert math.isfinite(marginals(torch.tensor([[NAN, INF]])).item())
