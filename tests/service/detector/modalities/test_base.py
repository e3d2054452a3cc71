"""Tests of `detector.modalities.base`: which one a schema has, and what it takes for records."""

from collections import namedtuple
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from kilter.service.detector.columns import CategoricalColumn, NumericColumn
from kilter.service.detector.errors import ArtifactError, KilterError
from kilter.service.detector.inputs import Table
from kilter.service.detector.modalities import MODALITIES, modality_of
from kilter.service.detector.modalities.pictures import ImageModality
from kilter.service.detector.modalities.tables import TableModality
from kilter.service.detector.pictures.column import ImageColumn
from kilter.service.detector.schema import Schema

SCHEMA = Schema((NumericColumn("u", 0.0, 1.0, 0.0, 1.0), NumericColumn("v", 0.0, 1.0, 0.0, 1.0)), 9)
Pair = namedtuple("Pair", ["Index", "u", "v"])  # as `itertuples` of pandas makes them
RECORDS = [{"u": 1.0, "v": 2.0}, {"u": 3.0, "v": 4.0}]


@pytest.mark.parametrize(
    ("form", "rows"),
    [
        (lambda: RECORDS, 2),
        (lambda: tuple(RECORDS), 2),
        (lambda: RECORDS[0], 1),
        (lambda: pd.DataFrame(RECORDS), 2),
        (lambda: pd.DataFrame(RECORDS).iloc[0], 1),
        (lambda: [row for _, row in pd.DataFrame(RECORDS).iterrows()], 2),
        (lambda: Pair(0, 1.0, 2.0), 1),
        (lambda: [*pd.DataFrame(RECORDS).itertuples()], 2),
        (lambda: pl.DataFrame(RECORDS), 2),
        (lambda: pa.Table.from_pylist(RECORDS), 2),
        (lambda: np.array([[1.0, 2.0], [3.0, 4.0]]), 2),
        (lambda: modality_of(SCHEMA).read(RECORDS), 2),
    ],
    ids=["list", "tuple", "dict", "pandas", "row", "rows", "pair", "pairs", "polars", "Arrow", "NumPy", "table"],
)
def test_records_come_in_any_form_that_callers_hold(form: Callable[[], Any], rows: int) -> None:
    """And are the same table."""
    table = modality_of(SCHEMA).read(form())
    assert isinstance(table, Table)
    assert not table.problems
    assert table.rows == rows
    assert table.columns["u"].tolist() == [1.0, 3.0][:rows]
    assert table.columns["v"].tolist() == [2.0, 4.0][:rows]


@pytest.mark.parametrize("data", ["u,v", b"u,v", 3, None, {1, 2}])
def test_what_holds_no_records_is_refused(data: Any) -> None:
    """With what would."""
    with pytest.raises(KilterError, match="records come as a list of dicts, an array or a frame, not as "):
        modality_of(SCHEMA).read(data)


def test_the_first_column_says_what_a_model_judges() -> None:
    """Pictures stand alone; anything else is a table."""
    assert isinstance(modality_of(SCHEMA), TableModality)
    assert isinstance(modality_of(Schema((CategoricalColumn("c", (), ()),), 9)), TableModality)
    assert isinstance(modality_of(Schema((), 0)), TableModality)
    picture = modality_of(Schema((ImageColumn("image", 8, 8, 1),), 9), (4, 4))
    assert isinstance(picture, ImageModality)
    assert picture.grid == (4, 4)


def test_a_modality_that_this_version_does_not_have_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A later one may have it."""
    monkeypatch.delitem(MODALITIES, "image")
    with pytest.raises(ArtifactError, match="this version knows no modality 'image'"):
        modality_of(Schema((ImageColumn("image", 8, 8, 1),), 9))


def test_an_ordinary_record_counts_once_and_a_large_picture_more_often() -> None:
    """Where records are counted for the memory that they take."""
    assert modality_of(SCHEMA).weight == 1
    assert modality_of(Schema((ImageColumn("image", 8, 8, 1),), 9)).weight == 1
    assert modality_of(Schema((ImageColumn("image", 256, 256, 3),), 9)).weight == 24


def test_an_example_is_a_probe_or_a_picture_that_is_short() -> None:
    """So that a person can read the request that is shown."""
    probe = {"u": 1.0, "v": None}
    assert modality_of(SCHEMA).example(probe) == probe
    shown = modality_of(Schema((ImageColumn("image", 8, 8, 1),), 9)).example({"image": "x" * 10_000})
    assert len(shown["image"]) < 200
    assert not modality_of(Schema((ImageColumn("image", 8, 8, 1),), 9)).read([shown]).problems


def test_a_missing_value_is_called_by_its_name_in_python() -> None:
    """Null is a word of JSON."""
    modality = modality_of(SCHEMA)
    for data in ({"u": 1.0}, [{"u": 1.0}]):
        [problem] = modality.read(data).problems
        assert problem.message == "the field is missing: send None or NaN if its value is not known"


def test_a_series_is_a_record_and_never_a_column() -> None:
    """One whose index holds none of the fields is told what it was taken for."""
    modality = modality_of(SCHEMA)
    assert not modality.read(pd.Series({"u": 1.0, "v": None})).problems
    assert not modality.read([pd.Series({"u": 1.0, "v": float("nan")})]).problems
    with pytest.raises(KilterError, match=r"a Series is one record, .*: for a column give a frame"):
        modality.read(pd.Series([1.0, 2.0], name="u"))
