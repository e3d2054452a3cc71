"""One function judges frames of every kind, and the parts of a frame as the whole of it."""

import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kilter
from kilter.service.detector import KilterError, load
from kilter.service.formats.frame_scoring import _loaded, score_frame
from kilter.service.formats.lines import COLUMNS, NEAREST, TAIL
from kilter.service.formats.scoring import score_file
from tests.support import detectors
from tests.support.artifacts import ARTIFACTS
from tests.support.data import records

MODEL = ARTIFACTS / "format-2"
KINDS: dict[str, Callable[[pl.DataFrame], Any]] = {
    "polars": lambda frame: frame,
    "pandas": lambda frame: frame.to_pandas(),
    "table": lambda frame: frame.to_arrow(),
    "batch": lambda frame: frame.to_arrow().combine_chunks().to_batches()[0],
}


@pytest.fixture(scope="module")
def rows() -> pl.DataFrame:
    """Records of `MODEL` with a column that it does not know, one of them strange and one in error."""
    frame = pl.DataFrame(records(np.random.default_rng(3), 60), infer_schema_length=None)
    frame[4, "temperature"] = 900.0
    frame[9, "at"] = "at noon"
    return frame.with_columns(id=pl.int_range(60))


@pytest.mark.parametrize("kind", KINDS)
def test_a_frame_has_what_a_file_has(rows: pl.DataFrame, tmp_path: Path, kind: str) -> None:
    """Of each kind its own, with all other columns and the order as they were; nothing is changed in place."""
    rows.write_parquet(tmp_path / "in.parquet")
    score_file(load(MODEL), tmp_path / "in.parquet", tmp_path / "out.parquet", tails=True)
    expected = pl.read_parquet(tmp_path / "out.parquet")
    frame = KINDS[kind](rows)
    made = score_frame(MODEL, frame, tails=True)
    assert type(made) is type(frame)
    assert len(KINDS[kind](rows)) == len(frame) == len(made)
    found = pl.from_pandas(made) if kind == "pandas" else pl.DataFrame(made)
    assert found.columns == [*rows.columns, *COLUMNS, TAIL]
    assert found["id"].to_list() == [*range(60)]
    for name in (*COLUMNS, TAIL):
        assert found[name].cast(expected[name].dtype).equals(expected[name], null_equal=True), name
    assert found["kilter_anomaly"][4]
    assert "at noon" in found["kilter_error"][9]


@settings(max_examples=25)
@given(cuts=st.lists(st.integers(0, 60), max_size=4))
def test_parts_are_judged_as_the_whole(rows: pl.DataFrame, cuts: list[int]) -> None:
    """Wherever it is cut, empty parts included."""
    detector = detectors.detector()
    table = detectors.joined(detectors.rows(40, 1), detectors.rows(20, 2, shift=8.0))
    frame = pl.DataFrame(table.columns)
    edges = [0, *sorted(cuts), 60]
    parts = [score_frame(detector, frame[a:b], reasons="all") for a, b in pairwise(edges)]
    whole = score_frame(detector, frame, reasons="all")
    assert pl.concat(parts).equals(whole)
    real = pl.concat([score_frame(MODEL, rows[a:b]) for a, b in pairwise(edges)])
    assert np.allclose(
        real["kilter_score"].fill_null(0), score_frame(MODEL, rows)["kilter_score"].fill_null(0), atol=1e-5
    )


def test_pandas_keeps_its_index_and_its_types(rows: pl.DataFrame) -> None:
    """Those of the records, whatever they are."""
    things = pd.Series([object() for _ in range(60)], dtype=object)
    frame = rows.to_pandas().assign(thing=things).set_index(np.arange(60) * 3)
    made = score_frame(MODEL, frame)
    pd.testing.assert_frame_equal(made[frame.columns], frame)
    assert made["kilter_score"].isna().tolist() == [row == 9 for row in range(60)]


def test_a_model_is_loaded_once_and_again_where_it_has_changed(rows: pl.DataFrame, tmp_path: Path) -> None:
    """By its path; a detector is taken as it is."""
    shutil.copytree(MODEL, tmp_path / "model")
    before = _loaded.cache_info().misses
    first = score_frame(str(tmp_path / "model"), rows)
    assert score_frame(tmp_path / "model", rows).equals(first)
    assert _loaded.cache_info().misses == before + 1
    assert score_frame(load(MODEL), rows).equals(first)
    shutil.rmtree(tmp_path / "model")
    shutil.copytree(ARTIFACTS / "format-1", tmp_path / "model")
    assert not score_frame(tmp_path / "model", rows)["kilter_score"].equals(first["kilter_score"])


def test_nearest_normals_are_appended(rows: pl.DataFrame) -> None:
    """Of anomalies, where they are asked for."""
    made = score_frame(MODEL, rows, keep=("line",), reasons="none")
    assert made[NEAREST].is_not_null().to_list() == made["kilter_anomaly"].fill_null(value=False).to_list()
    assert made["kilter_reasons"].null_count() == 60


def test_what_is_no_frame_of_records_is_refused(rows: pl.DataFrame) -> None:
    """With the column, and what to do."""
    for wrong, message in (
        (rows.drop("count"), "the frame lacks 'count', which the model needs"),
        (score_frame(MODEL, rows), "has a column 'kilter_score' already"),
        ([{"a": 1}], "not list"),
        (rows.to_pandas().rename(columns={"id": 3}), "a name of its own"),
        (pa.table([[1], [2]], names=["a", "a"]), "a name of its own"),
        (rows.to_pandas().assign(at=[1, "x"] * 30), "give each column one type"),
    ):
        with pytest.raises(KilterError, match=message):
            score_frame(MODEL, wrong)
    with pytest.raises(KilterError, match="judges pictures"):
        score_frame(ARTIFACTS / "format-1-pictures", rows)
    assert kilter.score_frame is score_frame
