"""Tests of `detector.scores.marginals`: how rare each value is on its own."""

import math

import numpy as np
import pytest
import torch

from kilter.service.detector.scores.marginals import Marginals, MarginalsShape, build_marginals

NAN, INF = float("nan"), float("inf")


def test_what_was_seen_lies_within_the_histograms() -> None:
    """The least and the greatest value of a feature are no less likely for lying on an edge."""
    x = torch.from_numpy(np.random.default_rng(5).uniform(-3, 3, (400, 4)).astype(np.float32))
    marginals = build_marginals(x, x[:100])
    bins = marginals.shape.bins
    for seen in ((x - marginals.start) * marginals.per_unit).T:
        inside = seen[(seen > 1) & (seen < bins + 1)]
        assert 1.001 < inside.min() < 1.01
        assert bins + 0.99 < inside.max() < bins + 0.999


@pytest.fixture
def marginals() -> Marginals:
    """Two numbers, one in four bins over [0, 2], one in four over [-1, 1]; what a bin says is its position."""
    marginals = Marginals(MarginalsShape(2, 4))
    marginals.start.copy_(torch.tensor([-0.5, -1.5]))
    marginals.per_unit.copy_(torch.tensor([2.0, 2.0]))
    marginals.table.copy_(torch.tensor([[90.0, 1, 2, 3, 4, 91, 92, 93], [900, 10, 20, 30, 40, 910, 920, 930]]))
    return marginals


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.0, 1), (0.49, 1), (0.5, 2), (1.99, 4), (2.1, 91), (-0.1, 90), (1e6, 91), (-1e6, 90), (INF, 92), (NAN, 93)],
)
def test_a_number_has_the_evidence_of_its_bin(value: float, expected: float, marginals: Marginals) -> None:
    """Below, above, hidden and missing have bins of their own; the evidence of a record is the sum."""
    assert marginals(torch.tensor([[value, 0.1]])).item() == expected + 30


def test_nothing_is_out_of_bounds(marginals: Marginals) -> None:
    """Whatever stands in a record, some bin of its own feature is meant."""
    strange = torch.tensor([NAN, INF, -INF, 3.4e38, -3.4e38, 0.0])
    for first in strange:
        for second in strange:
            found = marginals(torch.stack([first, second])[None]).item()
            assert math.isfinite(found)
            assert found % 10 in (0, 1, 2, 3, 4)
