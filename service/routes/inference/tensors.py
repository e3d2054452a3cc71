"""Tensors as the protocol carries them, in JSON or as bytes: to NumPy arrays, and to the tables that a detector judges.

Binary data are little-endian and row-major; a BYTES element has its length in four bytes before it. Numbers in JSON are
read as float64, as they are written, whichever floating datatype is declared, so that nothing is lost.

Records come either as one matrix of numbers, (n, columns), or as a tensor per column, (n,) or (n, 1). A missing value
is NaN, null in JSON or, in BYTES, a text that means a missing value in a file too (empty, NA, None and so on), unless
it is a known level.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from kilter.service.detector import KilterError, PictureError, Problem, Schema
from kilter.service.detector.columns import Column
from kilter.service.detector.inputs import Table, from_matrix, in_order, read_array
from kilter.service.detector.modalities.base import Modality
from kilter.service.detector.names import own_names, suggestion
from kilter.service.formats.bodies import CHUNK, too_many
from kilter.service.problems import BAD_BODY, BAD_RECORDS, RequestError

Array = npt.NDArray[Any]
BYTES = "BYTES"
BOOL = "BOOL"
FLOATS = {name: np.dtype(code) for name, code in (("FP16", "<f2"), ("FP32", "<f4"), ("FP64", "<f8"))}
INTEGERS = {
    f"{prefix}INT{bits}": np.dtype(f"<{code}{bits // 8}")
    for prefix, code in (("", "i"), ("U", "u"))
    for bits in (8, 16, 32, 64)
}
NUMBERS = FLOATS | INTEGERS
DATATYPES = (*NUMBERS, BOOL, BYTES)
SHOWN = 100  # characters of a tensor's name that a message quotes
_LENGTH = 4


def from_bytes(datatype: str, shape: Sequence[int], raw: memoryview) -> Array:
    """Read binary data as an array of numbers, bool or texts. Raises KilterError if they do not fit."""
    count = math.prod(shape)
    if datatype == BYTES:
        return _texts(count, raw).reshape(shape)
    dtype = NUMBERS.get(datatype, np.dtype(np.uint8))
    if len(raw) != count * dtype.itemsize:
        raise KilterError(
            f"{datatype} of shape {list(shape)} is {count * dtype.itemsize} bytes, and binary_data_size is {len(raw)}"
        )
    values = np.frombuffer(raw, dtype)
    if datatype == BOOL:
        if values.max(initial=0) > 1:
            raise KilterError("a BOOL is a byte 0 or 1")
        values = values.astype(np.bool_)
    return values.reshape(shape)


def _texts(count: int, raw: memoryview) -> Array:
    size = len(raw)
    fault = KilterError(f"{size} bytes are not {count} BYTES elements, each with its length in four bytes before it")
    if count * _LENGTH > size:
        raise fault
    texts = np.empty(count, object)
    place = 0
    for i in range(count):
        start = place + _LENGTH
        place = start + int.from_bytes(raw[place:start], "little")
        if place > size:
            raise fault
        try:
            texts[i] = str(raw[start:place], "utf-8")
        except UnicodeDecodeError:
            raise KilterError(f"BYTES hold UTF-8, and element {i} does not") from None
    if place != size:
        raise fault
    return texts


def from_json(datatype: str, shape: Sequence[int], data: Any) -> Array:
    """Read JSON data, flat or nested by the shape, as an array of float64, NaN for null, or of texts and None.

    Raises KilterError if they do not fit.
    """
    values = _flat(shape, data)
    kinds = set(map(type, values)) - {type(None)}
    if datatype == BYTES:
        _expect(kinds, {str}, BYTES, "texts")
        texts = np.empty(len(values), object)
        texts[:] = values
        return texts.reshape(shape)
    if datatype == BOOL:
        _expect(kinds, {bool, int}, BOOL, "true, false")
    else:
        _expect(kinds, {float, int}, datatype, "numbers")
    try:
        numbers = np.array(values, np.float64)
    except OverflowError:
        raise KilterError("a number is beyond what a 64-bit float can hold") from None
    if datatype not in FLOATS:
        limits = None if datatype == BOOL else np.iinfo(INTEGERS[datatype])
        low, high = (0, 1) if limits is None else (limits.min, limits.max)
        wrong = ~np.isnan(numbers) & ((numbers < low) | (numbers > high) | (numbers != np.floor(numbers)))
        if wrong.any():
            raise KilterError(f"{numbers[wrong][0]:g} is no {datatype}")
    return numbers.reshape(shape)


def _flat(shape: Sequence[int], data: Any) -> list[Any]:
    """The elements of data that are flat already or nested exactly by a shape."""
    if not isinstance(data, list):
        raise KilterError("data is a list of values")
    values: list[Any] = data
    if len(shape) > 1 and values and isinstance(values[0], list):
        fits = len(values) == shape[0]
        for size in shape[1:]:
            if not fits or not all(isinstance(row, list) and len(row) == size for row in values):
                raise KilterError(f"data is nested otherwise than the shape {list(shape)} says")
            values = [value for row in values for value in row]
    if len(values) != math.prod(shape):
        raise KilterError(f"data has {len(values)} values, and the shape {list(shape)} has {math.prod(shape)}")
    return values


def _expect(kinds: set[type], known: set[type], datatype: str, what: str) -> None:
    if not kinds <= known:
        names = {str: "a text", bool: "true or false", list: "a list", dict: "an object"}
        wrong = min(names.get(kind, "a number") for kind in kinds - known)
        raise KilterError(f"data of datatype {datatype} are {what} and null, and there is {wrong}")


def to_bytes(datatype: str, array: Array) -> bytes:
    """Write an array of numbers or bool as binary data, cast to the datatype."""
    return array.astype(NUMBERS.get(datatype, np.bool_)).tobytes()


class Input(NamedTuple):
    """An input tensor with its data."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: Any
    """Bytes as a memoryview, or the list that stood in JSON."""

    @property
    def place(self) -> str:
        """How a message names it."""
        return f"input {self.name[:SHOWN]!r}"

    def array(self) -> Array:
        """Read its values. Raises RequestError if the data do not fit datatype and shape."""
        read = from_bytes if isinstance(self.data, memoryview) else from_json
        try:
            return read(self.datatype, self.shape, self.data)
        except KilterError as error:
            raise RequestError(BAD_BODY, f"{self.place}: {error}") from None


def takes_matrix(schema: Schema) -> bool:
    """Whether every field is a number or a flag."""
    return all(column.is_number for column in schema.fields)


def matrix_name(schema: Schema) -> str:
    """The name of the matrix, which is no column's."""
    name = "records"
    while name in schema.names:
        name += "_"
    return name


def datatypes(column: Column) -> tuple[str, ...]:
    """The datatypes that a column's tensor may have, that of the metadata first."""
    if column.datatype == BYTES:
        return (BYTES,)
    texts = (BYTES,) * column.takes_texts
    if column.datatype == BOOL:
        return (BOOL, *NUMBERS, *texts)
    return (*sorted(NUMBERS, key=lambda name: name != column.datatype), *texts)


def read_tensors(modality: Modality, inputs: Sequence[Input], limit: int) -> Iterator[Table]:
    """Read the records, some at a time. Raises RequestError if the tensors do not fit, or have more than the limit."""
    schema, [first, *others] = modality.schema, inputs
    if schema.columns[0].shape:
        return _from_arrays(modality, inputs, modality.most_records(limit))
    if not others and (first.name not in schema.names or (len(first.shape) == 2 and first.shape[1] > 1)):
        return _from_matrix(schema, first, limit)
    return _from_columns(schema, _columns(schema, inputs, limit))


def _from_arrays(modality: Modality, inputs: Sequence[Input], limit: int) -> Iterator[Table]:
    """Records that are arrays: one tensor holds all of them."""
    [first, *others] = inputs
    [column] = modality.schema.columns
    if others or first.datatype not in datatypes(column):
        wanted = f"{column.datatype} of shape [{', '.join(('n', *column.value_axes))}]"
        raise RequestError(BAD_BODY, f"the model takes one tensor, {wanted}: send no other")
    try:
        records = column.split(first.array())
        if len(records) > limit:
            raise too_many(limit)
        for start in range(0, max(1, len(records)), CHUNK):
            yield modality.read_array(records[start : start + CHUNK])
    except PictureError as error:
        raise RequestError(BAD_BODY, f"{first.place}: {error}") from None


def _from_matrix(schema: Schema, matrix: Input, limit: int) -> Iterator[Table]:
    width, place, shape = len(schema.names), matrix.place, list(matrix.shape)
    columns = ", ".join(schema.names[:20]) + (f" and {width - 20} more" if width > 20 else "")
    wrong = None
    if not takes_matrix(schema):
        wrong = f"{place} is no column, and the model takes no matrix, but a tensor per column: {columns}"
    elif len(shape) != 2 or shape[1] != width:
        taken = f"a matrix of shape [n, {width}], or a tensor of shape [n] per column: {columns}"
        wrong = f"{place} has the shape {shape}: the model takes {taken}"
    elif matrix.datatype == BYTES:
        wrong = f"{place} is BYTES: a matrix holds numbers, in FP32 or another datatype of numbers"
    if wrong is not None:
        raise RequestError(BAD_BODY, wrong)
    if shape[0] > limit:
        raise too_many(limit)
    values = matrix.array()
    return (from_matrix(schema, values[start : start + CHUNK]) for start in range(0, len(values), CHUNK))


def _columns(schema: Schema, inputs: Sequence[Input], limit: int) -> dict[str, Array]:
    """The values of each column, (n,). Raises RequestError that lists every input that is wrong or missing."""
    known = {column.name: column for column in schema.fields}
    left_out = {column.name for column in schema.left_out}
    names = [tensor.name for tensor in inputs]
    wanted = {given: name for name, given in own_names(schema.names, names).items()}
    inputs = [tensor._replace(name=wanted.get(tensor.name, tensor.name)) for tensor in inputs]
    missing = set(schema.names) - {tensor.name for tensor in inputs}
    spare = sorted({*names} - known.keys() - left_out)
    problems = [Problem(None, name, "the input is missing" + suggestion(name, spare)) for name in missing]
    for tensor in inputs:
        wrong = _why_wrong(known.get(tensor.name), tensor, left_out)
        if wrong:
            problems.append(Problem(None, tensor.name[:SHOWN], wrong))
    if problems:
        raise RequestError(BAD_RECORDS, "the inputs are not the columns of the model", sorted(problems, key=str))
    rows = {tensor.shape[0] for tensor in inputs}
    if len(rows) > 1:
        text = f"the inputs have between {min(rows)} and {max(rows)} rows: send as many of each"
        raise RequestError(BAD_RECORDS, text)
    if rows.pop() > limit:
        raise too_many(limit)
    return {tensor.name: tensor.array().reshape(-1) for tensor in inputs if tensor.name in known}


def _why_wrong(column: Column | None, tensor: Input, left_out: set[str]) -> str | None:
    if len(tensor.shape) == 2 and tensor.shape[1] != 1:
        return f"a column has the shape [n] or [n, 1], not {list(tensor.shape)}"
    if column is None:
        return None if tensor.name in left_out else "the model has no such column: leave it out"
    if tensor.datatype not in datatypes(column):
        return f"its datatype is {' or '.join(datatypes(column))}, not {tensor.datatype}"
    return None


def _from_columns(schema: Schema, columns: dict[str, Array]) -> Iterator[Table]:
    values = {column.name: _marked(schema, column, columns[column.name]) for column in schema.fields}
    rows = len(values[schema.names[0]])
    for start in range(0, rows, CHUNK):
        problems: list[Problem] = []
        typed = {
            column.name: read_array(column, values[column.name][start : start + CHUNK], problems)
            for column in schema.fields
        }
        yield Table(typed, min(CHUNK, rows - start), in_order(problems))


def _marked(schema: Schema, column: Column, values: Array) -> Array:
    """The values with None for every text that means a missing one."""
    if values.dtype != object:
        return values
    tokens, levels = set(schema.null_tokens), getattr(column, "levels", ())
    missing = [text is None or (text.strip() in tokens and text not in levels) for text in values.tolist()]
    marked = values.copy()
    marked[np.array(missing, np.bool_)] = None
    return marked
