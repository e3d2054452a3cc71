"""Tensors go to bytes and JSON and back without loss, and what does not fit is told."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kilter.service.detector import KilterError, Schema
from kilter.service.detector.columns import CategoricalColumn
from kilter.service.problems import RequestError
from kilter.service.routes.inference.tensors import (
    BOOL,
    DATATYPES,
    INTEGERS,
    NUMBERS,
    Input,
    from_bytes,
    from_json,
    read_tensors,
    to_bytes,
)
from tests.support.protocol_client import packed
from tests.support.protocol_server import METER, meter
from tests.support.serving import detector

SHAPES = hnp.array_shapes(min_dims=1, max_dims=2, min_side=0, max_side=5)


@given(data=st.data(), datatype=st.sampled_from(sorted(NUMBERS)), shape=SHAPES)
def test_numbers_survive_as_bytes(data: st.DataObject, datatype: str, shape: tuple[int, ...]) -> None:
    """Every number of every datatype, NaN and infinities included, in its place."""
    array = data.draw(hnp.arrays(NUMBERS[datatype], shape))
    np.testing.assert_array_equal(from_bytes(datatype, shape, memoryview(to_bytes(datatype, array))), array)
    assert to_bytes(datatype, array) == packed(datatype, array.ravel().tolist())


@given(array=hnp.arrays(np.bool_, SHAPES))
def test_flags_survive_as_bytes(array: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> None:
    """A byte each."""
    np.testing.assert_array_equal(from_bytes(BOOL, array.shape, memoryview(to_bytes(BOOL, array))), array)


@given(texts=st.lists(st.text(max_size=6), max_size=8))
def test_texts_survive_as_bytes(texts: list[str]) -> None:
    """Whatever characters they hold, and empty ones too."""
    found = from_bytes("BYTES", (len(texts), 1), memoryview(packed("BYTES", texts)))
    assert found.shape == (len(texts), 1)
    assert found.ravel().tolist() == texts


@given(data=st.data(), datatype=st.sampled_from(DATATYPES), shape=SHAPES, nested=st.booleans())
def test_json_data_are_taken_flat_and_nested(
    data: st.DataObject, datatype: str, shape: tuple[int, ...], nested: bool
) -> None:
    """Null is NaN, or None among texts; numbers are as exact as a float64."""
    cell: st.SearchStrategy[Any]
    match datatype:
        case "BOOL":
            cell = st.booleans()
        case "BYTES":
            cell = st.text(max_size=4)
        case _ if datatype in INTEGERS:
            limits = np.iinfo(INTEGERS[datatype])
            cell = st.integers(int(limits.min), int(limits.max))
        case _:
            cell = st.floats(allow_nan=False, allow_infinity=False)
    count = int(np.prod(shape))
    cells: list[Any] = data.draw(st.lists(st.none() | cell, min_size=count, max_size=count))
    width = shape[-1]
    rows = [cells[i * width : (i + 1) * width] for i in range(shape[0])]
    found = from_json(datatype, shape, rows if nested and len(shape) == 2 else cells)
    assert found.shape == shape
    if datatype == "BYTES":
        assert found.ravel().tolist() == cells
    else:
        want = np.array([np.nan if value is None else float(value) for value in cells])
        np.testing.assert_array_equal(found.ravel(), want)


@given(raw=st.binary(max_size=40), datatype=st.sampled_from(DATATYPES), shape=SHAPES)
def test_any_bytes_are_read_or_refused(raw: bytes, datatype: str, shape: tuple[int, ...]) -> None:
    """Nothing but a KilterError comes of bytes that do not fit."""
    try:
        assert from_bytes(datatype, shape, memoryview(raw)).shape == shape
    except KilterError as error:
        assert str(error)  # noqa: PT017


@pytest.mark.parametrize(
    ("datatype", "shape", "raw", "told"),
    [
        ("FP32", [2], bytes(4), "8 bytes, and binary_data_size is 4"),
        ("FP64", [10**30], bytes(8), "binary_data_size is 8"),
        ("BOOL", [1], b"\x02", "a byte 0 or 1"),
        ("BYTES", [10**12], bytes(4), "4 bytes are not 1000000000000 BYTES elements"),
        ("BYTES", [1], b"\xff\xff\xff\xffab", "6 bytes are not 1 BYTES elements"),
        ("BYTES", [1], bytes(5), "5 bytes are not 1 BYTES elements"),
        ("BYTES", [2], b"\1\0\0\0a\1\0\0\0\xff", "UTF-8, and element 1 does not"),
    ],
)
def test_bytes_that_do_not_fit_are_told(datatype: str, shape: list[int], raw: bytes, told: str) -> None:
    """The text says what was found, and what is expected."""
    with pytest.raises(KilterError, match=told):
        from_bytes(datatype, shape, memoryview(raw))


@pytest.mark.parametrize(
    ("datatype", "shape", "data", "told"),
    [
        ("FP32", [2], [1.0], "1 values, and the shape .2. has 2"),
        ("FP32", [2, 2], [[1, 2], [3]], "nested otherwise"),
        ("FP32", [2, 2], [[1, 2, 3], [4]], "nested otherwise"),
        ("FP32", [2, 1], [[1], 2], "nested otherwise"),
        ("FP32", [1, 1], [[[1]]], "numbers and null, and there is a list"),
        ("FP32", [1], [True], "numbers and null, and there is true or false"),
        ("FP32", [1], ["1"], "and there is a text"),
        ("INT8", [1], [128], "128 is no INT8"),
        ("UINT8", [1], [-1], "-1 is no UINT8"),
        ("INT64", [1], [2.5], "2.5 is no INT64"),
        ("INT64", [1], [10**400], "64-bit float"),
        ("BOOL", [1], [2], "2 is no BOOL"),
        ("BOOL", [1], [1.0], "true, false and null"),
        ("BYTES", [1], [5], "texts and null, and there is a number"),
        ("BYTES", [1], [{}], "an object"),
    ],
)
def test_json_data_that_do_not_fit_are_told(datatype: str, shape: list[int], data: object, told: str) -> None:
    """The text says what was found, and what is expected."""
    with pytest.raises(KilterError, match=told):
        from_json(datatype, shape, data)


def read(schema: Schema, *inputs: Input, limit: int = 10) -> list[list[Any]]:
    """The values of all records, column by column."""
    tables = list(read_tensors(meter().modality if schema is METER else detector().modality, inputs, limit))
    return [[value for table in tables for value in table.columns[name].tolist()] for name in schema.names]


MATRIX = [[1.0, 2.0, 3.0, 4.0, 1.0], [5.0, 6.0, 7.0, 8.0, 0.0]]


@given(st.permutations(range(5)), st.sampled_from(["FP32", "FP64"]))
def test_a_matrix_and_its_columns_are_the_same_records(order: list[int], datatype: str) -> None:
    """In whatever order the columns come, and of whatever shape they are."""
    flat = [value for row in MATRIX for value in row]
    columns = [Input(METER.names[i], datatype, (2,) if i % 2 else (2, 1), [row[i] for row in MATRIX]) for i in order]
    assert read(METER, *columns) == read(METER, Input("any", datatype, (2, 5), flat))


@pytest.mark.parametrize(
    ("tensor", "text"),
    [
        (Input("x", "FP32", (1, 4), [0] * 4), "has the shape [1, 4]: the model takes a matrix of shape [n, 5]"),
        (Input("x", "BYTES", (1, 5), ["a"] * 5), "is BYTES: a matrix holds numbers"),
        (Input("x", "INT8", (1, 5), [0, 0, 0, 0, 128]), "input 'x': 128 is no INT8"),
        (Input("x", "BOOL", (1, 5), [0, 0, 0, 0, 2]), "input 'x': 2 is no BOOL"),
        (Input("x", "UINT8", (1, 5), [0, 0, 0, 0, 0.5]), "input 'x': 0.5 is no UINT8"),
        (Input("x", "FP32", (11, 5), [0] * 55), "a request may have 10 records"),
    ],
)
def test_a_matrix_that_does_not_fit_is_refused(tensor: Input, text: str) -> None:
    """With its name, and what the model takes."""
    with pytest.raises(RequestError) as caught:
        read(METER, tensor)
    assert text in caught.value.detail


def test_a_text_is_missing_unless_it_is_a_level() -> None:
    """Empty, NA and the like are; spaces around them change nothing, those of a level are its own."""
    levels = CategoricalColumn("colour", levels=("red", "NA"), counts=(60, 40))
    schema = Schema(columns=(levels,), rows=10)
    tables = [
        table.columns["colour"].tolist()
        for texts in (["red", "NA", " NA ", ""], ["red", "NA", None, None])
        for table in read_tensors(detector(schema=schema).modality, [Input("colour", "BYTES", (4,), texts)], 9)
    ]
    assert tables[0] == tables[1]
    assert tables[0][1] != tables[0][2]


def test_every_wrong_column_is_listed() -> None:
    """By its name: those that are missing, unknown, and of another datatype or shape."""
    wrong, unknown = Input("items", "FP32", (1, 2), [1, 2]), Input("x", "FP32", (1,), [1])
    inputs = [Input("amount", "BOOL", (1,), [True]), wrong, unknown]
    with pytest.raises(RequestError) as caught:
        read(detector().schema, *inputs)
    assert [problem.field for problem in caught.value.problems] == ["amount", "at", "colour", "items", "member", "x"]
