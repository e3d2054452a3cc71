"""Tests of `detector.scores.core`: the score for rows many of which may be anomalies themselves."""

import numpy as np
import pytest
import torch

from kilter.service.detector.columns import NumericColumn
from kilter.service.detector.schema import Schema
from kilter.service.detector.scores.core import RobustCore
from kilter.training.config import TrainConfig
from kilter.training.fitting.model import score_around
from tests.service.detector.scores.test_combined import MIXED, PLAIN, around, built, fitted, rows, scores


def test_anomalies_with_others_of_their_kind_stand_out() -> None:
    """Among the rows that are fitted are 24 that lie together and far out: others of them score higher than normal
    rows, and more surely than by the default score, for which their kind is known."""
    rng = np.random.default_rng(0)
    normal, odd = rows(300)[:, :5], np.full((48, 5), 4.0) + 0.1 * rng.normal(size=(48, 5))
    odd[:, 4] = 0
    x = np.ascontiguousarray(np.concatenate([normal, odd[:24]]).astype(np.float32))
    new = np.ascontiguousarray(np.concatenate([rows(200, seed=1)[:, :5], odd[24:]]).astype(np.float32))
    network = fitted(x, PLAIN)
    ranks = {}
    for kind in ("core-distance", "weighted-surprise"):
        found = scores(around(network, x, x[:0], PLAIN, kind)[0], new)
        ranks[kind] = float((found[None, 200:] > found[:200, None]).mean())
    assert ranks["core-distance"] > 0.95
    assert ranks["core-distance"] >= ranks["weighted-surprise"]


def test_a_wide_table_has_the_distance_alone() -> None:
    """No more rows than features: the core is that to the memory's core rows."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 80)).astype(np.float32)
    schema = Schema(tuple(NumericColumn(f"n{i}", 0, 1, -3, 3) for i in range(80)), rows=60)
    module, own = score_around(fitted(x, schema), "core-distance", x, x[:0], schema, TrainConfig())
    far = np.concatenate([rng.normal(size=(20, 80)), 3 * rng.normal(size=(20, 80))]).astype(np.float32)
    with torch.no_grad():
        found = module(torch.from_numpy(far))[0].numpy()
    assert own is None
    assert np.isfinite(found).all()
    assert found[20:].min() > found[:20].max()


@pytest.mark.parametrize("schema", [MIXED, PLAIN], ids=["mixed", "plain"])
def test_it_has_histograms_where_there_are_no_levels(schema: Schema) -> None:
    """Where there are, the negative ELBO stands in for them."""
    program, x = built(schema, "core-distance")
    assert isinstance(program.score, RobustCore)
    assert (program.score.marginals is None) == (schema is MIXED)
    assert np.isfinite(scores(program, x)).all()
