"""Tests of `detector.scores.core`: the robust core of the default score alone."""

import numpy as np
import pytest
import torch

from kilter.service.detector.columns import NumericColumn
from kilter.service.detector.schema import Schema
from kilter.service.detector.scores.core import RobustCore
from kilter.training.config import TrainConfig
from kilter.training.fitting.model import score_around
from tests.service.detector.scores.test_neighbours import MIXED, PLAIN, around, built, fitted, rows, scores


@pytest.mark.parametrize("schema", [MIXED, PLAIN], ids=["mixed", "plain"])
def test_the_core_is_where_the_default_score_begins(schema: Schema) -> None:
    """Local evidence only adds to it."""
    x = np.ascontiguousarray(rows(300)[:, : len(schema.columns)])
    network = fitted(x, schema)
    core, whole = (around(network, x, x[:0], schema, kind)[0] for kind in ("core", "neighbours"))
    assert isinstance(core.score, RobustCore)
    new = np.ascontiguousarray(rows(100, seed=1)[:, : len(schema.columns)])
    assert (scores(core, new) <= scores(whole, new)).all()


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
    for kind in ("core", "neighbours"):
        found = scores(around(network, x, x[:0], PLAIN, kind)[0], new)
        ranks[kind] = float((found[None, 200:] > found[:200, None]).mean())
    assert ranks["core"] > 0.95
    assert ranks["core"] >= ranks["neighbours"]


def test_a_wide_table_has_the_distance_alone() -> None:
    """No more rows than features: the core is that to the memory's core rows."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 80)).astype(np.float32)
    schema = Schema(tuple(NumericColumn(f"n{i}", 0, 1, -3, 3) for i in range(80)), rows=60)
    module, own = score_around(fitted(x, schema), "core", x, x[:0], schema, TrainConfig())
    far = np.concatenate([rng.normal(size=(20, 80)), 3 * rng.normal(size=(20, 80))]).astype(np.float32)
    with torch.no_grad():
        found = module(torch.from_numpy(far))[0].numpy()
    assert own is None
    assert np.isfinite(found).all()
    assert found[20:].min() > found[:20].max()


def test_it_is_exported_like_any_other() -> None:
    """A model trained with it is written, read and replayed by the same code, so that only its sum differs."""
    program, x = built(PLAIN, "core")
    assert program.score.shape == built(PLAIN, "neighbours")[0].score.shape
    assert np.isfinite(scores(program, x)).all()
