"""Tests of `formats.frames`: tables that a model makes are tables of its originals."""

import io
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest

from kilter.service.detector import KilterError
from kilter.service.detector.columns import NumericColumn
from kilter.service.detector.columns.notation import Notation
from kilter.service.detector.inputs import Table
from kilter.service.detector.modalities import modality_of
from kilter.service.formats.frames import csv_bytes, open_frame_sink, record_frame
from kilter.service.formats.reading import open_table, read_batch
from tests.support.serving import SCHEMA

MONEY = NumericColumn(
    "price", 5.0, 2.0, 0.0, 9e3, notation=Notation(decimal=",", grouping=".", currency="EUR", after="EUR", gap=" ")
)
EXTENDED = msgspec.structs.replace(SCHEMA, columns=(*SCHEMA.columns, MONEY))


def made(decimal: str = ".") -> tuple[Any, Table]:
    """A schema with a decimal sign, and decoded records of it, one of which has no values."""
    schema = msgspec.structs.replace(EXTENDED, decimal=decimal)
    features = np.array(
        [[0.33333, 1.2, 0.0, 1.0, 5.0, 2.0, 600.0], [-1.0, 0.0, 1.0, 0.0, 13.0, 0.0, -1.5], [np.nan] * 7], np.float32
    )
    return schema, modality_of(schema).decode(features)


@pytest.mark.parametrize("decimal", [".", ","])
@pytest.mark.parametrize("ending", [".csv", ".csv.gz", ".ndjson", ".ndjson.zst", ".parquet", ".arrow", ".arrows"])
def test_a_table_is_read_again_as_it_was(decimal: str, ending: str, tmp_path: Path) -> None:
    """By the schema from which it was made, in every format, in parts, with both decimal signs."""
    schema, table = made(decimal)
    out = tmp_path / f"out{ending}"
    with open_frame_sink(out, "-", decimal, force=False) as sink:
        for _ in range(2):
            sink.write(record_frame(schema, table, text=sink.text))
    with open_table(out) as reader:
        [batch] = reader.batches()
    read = read_batch(schema, batch)
    assert not read.problems
    assert read.rows == 6
    for name, values in table.columns.items():
        twice = np.concatenate([values, values])
        assert [*map(str, read.columns[name])] == [*map(str, twice)], name


def test_types_are_those_of_the_fitting_rows() -> None:
    """Whole numbers, flags and times; in a text table they are spelled as there."""
    schema, table = made()
    typed = record_frame(schema, table, text=False)
    assert typed.dtypes == [pl.Float64, pl.Int64, pl.Boolean, pl.String, pl.Datetime("us"), pl.Float64]
    lines = csv_bytes(record_frame(schema, table, text=True), ".").decode().splitlines()
    assert lines == [
        "amount,items,member,colour,at,price",
        "53.3333,5,false,blue,2024-01-03T05:00:00,1.205 EUR",
        "40.0,3,true,red,2024-01-01T13:00:00,2 EUR",
        ",,,,,",
    ]
    comma = csv_bytes(record_frame(schema, table, text=True), ",").decode().splitlines()
    assert comma[0] == "amount;items;member;colour;at;price"


def test_an_output_that_must_not_be_written_is_refused(tmp_path: Path) -> None:
    """One that exists, or whose ending says no format; standard output takes CSV."""
    out = tmp_path / "out.csv"
    out.write_text("old")
    for place, message in ((out, "exists already"), (tmp_path / "out.xls", "does not say what to write")):
        with pytest.raises(KilterError, match=message), open_frame_sink(place, "-", ".", force=False):
            raise AssertionError
    assert out.read_text() == "old"
    stream = io.BytesIO()
    with open_frame_sink("-", "-", ".", force=False, stdout=stream) as sink:
        sink.write(pl.DataFrame({"a": [1]}))
    assert stream.getvalue() == b"a\n1\n"
