"""Tests of `detector.scores.raw`: records as they came."""

import pytest
import torch

from kilter.service.detector.columns import BooleanColumn, CategoricalColumn, Column, NumericColumn
from kilter.service.detector.networks.tabular import TabularShape, TabularVAE
from kilter.service.detector.schema import Schema
from kilter.service.detector.scores.raw import FARTHEST, LEVEL_WEIGHT, RawView, build_raw_view

TAME = NumericColumn("a", 1.5, 0.7, 0, 1e4, "asinh", 2.0, 3.0)
"""Encoded as (asinh((value - 2) / 3) - 1.5) / 0.7."""


def built(columns: tuple[Column, ...], dense: torch.Tensor) -> RawView:
    """The view of dense features."""
    schema = Schema(columns, rows=len(dense))
    network = TabularVAE(TabularShape(schema.features(), len(columns), members=1, hidden=4, latent=2, components=1))
    return build_raw_view(network, schema, dense)


def test_a_tamed_number_is_seen_as_it_came() -> None:
    """In standard deviations of the number itself; one that is not tamed in its own."""
    values = torch.randn(400, 2, generator=torch.Generator().manual_seed(0))
    amounts = 50 * values[:, :1].abs() ** 3
    encoded = (torch.asinh((amounts - 2.0) / 3.0) - 1.5) / 0.7
    dense = torch.cat([encoded, 5 * values[:, 1:] + 3], 1)
    found = built((TAME, NumericColumn("n", 0, 1, -3, 3)), dense)(dense)
    want = torch.cat([amounts, values[:, 1:]], 1)
    torch.testing.assert_close(found, (want - want.mean(0)) / want.std(0, correction=0), rtol=1e-3, atol=1e-3)


def test_flags_are_standardised_and_levels_are_half_a_unit_squared() -> None:
    """Two rows that differ in a level are at a squared distance of 1."""
    levels = torch.nn.functional.one_hot(torch.arange(90) % 3, 3).float()
    dense = torch.cat([torch.where(torch.arange(90) % 9 == 0, 1.0, -1.0)[:, None], levels], 1)
    columns = (BooleanColumn("b", ("1",), ("0",)), CategoricalColumn("k", ("a", "b", "c"), (30, 30, 30)))
    found = built(columns, dense)(dense)
    assert found[:, 0].std(correction=0) == pytest.approx(1, abs=1e-5)
    torch.testing.assert_close(found[:, 1:], levels * LEVEL_WEIGHT)


@pytest.mark.parametrize("value", [1e3, -1e3, 1e30])
def test_nothing_is_too_far_away(value: float) -> None:
    """Whatever a feature is, the view is finite; a column that is constant is not divided by nothing."""
    dense = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    dense[:, 1] = 0
    seen = built((TAME, NumericColumn("n", 0, 1, 7, 7)), dense)(torch.full((1, 2), value))
    assert (seen.abs() <= FARTHEST).all()
