"""Tests of `detector.scores.geometry`: the space in which records are compared."""

import numpy as np
import pytest
import torch

from kilter.service.detector.columns import NumericColumn
from kilter.service.detector.schema import Schema
from kilter.service.detector.scores.geometry import build_geometry, typical_distance, whitening_of
from tests.service.detector.scores.test_combined import MIXED, PLAIN, fitted, rows


@pytest.mark.parametrize("schema", [MIXED, PLAIN], ids=["mixed", "plain"])
def test_values_are_the_dense_features_again(schema: Schema) -> None:
    """With what is expected where one is missing."""
    x = torch.from_numpy(np.ascontiguousarray(rows(300)[:, : len(schema.columns)]))
    network = fitted(x.numpy(), schema)
    with torch.no_grad():
        geometry = build_geometry(network, x, schema, [torch.arange(60), torch.arange(60, 120)])  # type: ignore[arg-type]
        points = geometry(network, x, *network.infer(x)[1:])
        values, dense = geometry.values(points), network.dense(x)  # type: ignore[operator]
    there = ~torch.isnan(x[:, 1])
    torch.testing.assert_close(values[there], dense[there], rtol=1e-4, atol=1e-4)
    assert (values[~there][:, 1] != 0).all()
    assert (points.shape[1] > geometry.plain) == geometry.shape.means


def test_a_table_with_fewer_rows_than_features_is_compared_by_its_values_alone() -> None:
    """A network has learned little of it."""
    x = torch.randn(30, 40, generator=torch.Generator().manual_seed(0))
    schema = Schema(tuple(NumericColumn(f"n{i}", 0, 1, -3, 3) for i in range(40)), rows=30)
    network = fitted(x.numpy(), schema)
    with torch.no_grad():
        geometry = build_geometry(network, x, schema, [torch.arange(6)])  # type: ignore[arg-type]
    assert not geometry.shape.means
    assert geometry.shape.whitening == "none"


def test_whitened_residuals_have_unit_covariance() -> None:
    """Where there are rows enough, less the tenth that is shrunk to the diagonal."""
    mixing = torch.tensor([[1.0, 0.3], [0.0, 0.7]])
    residual = torch.randn(20_000, 2, generator=torch.Generator().manual_seed(0)) @ mixing
    white = residual @ whitening_of(residual)
    assert white.T.cov().diagonal().tolist() == pytest.approx([1, 1], abs=0.15)
    assert abs(float(white.T.cov()[0, 1])) < 0.1


def test_the_unit_of_distance_has_a_floor() -> None:
    """All rows may be copies of each other."""
    assert float(typical_distance(torch.zeros(50, 4), torch.arange(20))) == pytest.approx(0.04)
