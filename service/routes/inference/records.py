"""From the tensors of a request to the tables that the detector judges.

Either one matrix of numbers, (n, columns), or a tensor per column, (n,) or (n, 1). What is missing is NaN, null in JSON
or, in BYTES, a text that means a missing value in a file too (empty, NA, None and so on), unless it is a known level.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from kilter.service.detector import PictureError, Problem, Schema
from kilter.service.detector.columns import Column
from kilter.service.detector.inputs import Table, from_matrix, in_order, read_array
from kilter.service.detector.modalities.base import Modality
from kilter.service.formats.bodies import CHUNK, too_many
from kilter.service.problems import BAD_BODY, BAD_RECORDS, RequestError
from kilter.service.routes.inference.requests import Input
from kilter.service.routes.inference.tensors import BOOL, BYTES, NUMBERS, Array


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
    if column.datatype == BOOL:
        return (BOOL, *NUMBERS)
    return tuple(sorted(NUMBERS, key=lambda name: name != column.datatype))


def read_tensors(modality: Modality, inputs: Sequence[Input], limit: int) -> Iterator[Table]:
    """The records, some at a time. Raises RequestError if the tensors do not fit, or there are more than the limit."""
    schema = modality.schema
    if schema.columns[0].shape:
        return _of_arrays(modality, inputs, modality.most_records(limit))
    if _is_matrix(schema, inputs):
        return _of_matrix(schema, inputs[0], limit)
    return _of_columns(schema, _columns(schema, inputs, limit))


def _is_matrix(schema: Schema, inputs: Sequence[Input]) -> bool:
    """Whether the only input is meant as the matrix, by whatever name."""
    [first, *others] = inputs
    return not others and (first.name not in schema.names or (len(first.shape) == 2 and first.shape[1] > 1))


def _of_arrays(modality: Modality, inputs: Sequence[Input], limit: int) -> Iterator[Table]:
    """Records that are arrays: one tensor of all of them."""
    [first, *others] = inputs
    [column] = modality.schema.columns
    if others or first.datatype not in datatypes(column):
        wanted = f"{column.datatype} of shape [{', '.join(('n', *column.value_axes))}]"
        raise RequestError(BAD_BODY, f"the model takes one tensor, {wanted}: send no other")
    try:
        records = column.split(first.array())
        _check_rows(len(records), limit)
        for start in range(0, max(1, len(records)), CHUNK):
            yield modality.read_array(records[start : start + CHUNK])
    except PictureError as error:
        raise RequestError(BAD_BODY, f"{first.place}: {error}") from None


def _of_matrix(schema: Schema, matrix: Input, limit: int) -> Iterator[Table]:
    width = len(schema.names)
    place = matrix.place
    if not takes_matrix(schema):
        raise RequestError(
            BAD_BODY, f"{place} is no column, and the model takes no matrix, but a tensor per column: {_listed(schema)}"
        )
    if len(matrix.shape) != 2 or matrix.shape[1] != width:
        raise RequestError(
            BAD_BODY,
            f"{place} has the shape {list(matrix.shape)}: the model takes a matrix of shape [n, {width}], or a "
            f"tensor of shape [n] per column: {_listed(schema)}",
        )
    if matrix.datatype == BYTES:
        raise RequestError(
            BAD_BODY, f"{place} is BYTES: a matrix holds numbers, in FP32 or another datatype of numbers"
        )
    _check_rows(matrix.shape[0], limit)
    values = matrix.array()
    return (from_matrix(schema, values[start : start + CHUNK]) for start in range(0, len(values), CHUNK))


def _columns(schema: Schema, inputs: Sequence[Input], limit: int) -> dict[str, Array]:
    """The values of each column, (n,). Raises RequestError that lists every input that is wrong or missing."""
    known = {column.name: column for column in schema.fields}
    ignored = {column.name for column in schema.left_out}
    problems = [
        Problem(None, name, "the input is missing") for name in set(schema.names) - {given.name for given in inputs}
    ]
    problems += [
        Problem(None, given.name[:100], wrong)
        for given in inputs
        if (wrong := _wrong(known.get(given.name), given, ignored))
    ]
    if problems:
        raise RequestError(BAD_RECORDS, "the inputs are not the columns of the model", sorted(problems, key=str))
    rows = {given.shape[0] for given in inputs}
    if len(rows) > 1:
        raise RequestError(
            BAD_RECORDS, f"the inputs have between {min(rows)} and {max(rows)} rows: send as many of each"
        )
    _check_rows(rows.pop(), limit)
    return {given.name: given.array().reshape(-1) for given in inputs if given.name in known}


def _wrong(column: Column | None, given: Input, ignored: set[str]) -> str | None:
    if len(given.shape) == 2 and given.shape[1] != 1:
        return f"a column has the shape [n] or [n, 1], not {list(given.shape)}"
    if column is None:
        return None if given.name in ignored else "the model has no such column: leave it out"
    if given.datatype not in datatypes(column):
        return f"its datatype is {' or '.join(datatypes(column))}, not {given.datatype}"
    return None


def _check_rows(rows: int, limit: int) -> None:
    if rows > limit:
        raise too_many(limit)


def _of_columns(schema: Schema, columns: dict[str, Array]) -> Iterator[Table]:
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
    levels = getattr(column, "levels", ())
    tokens = set(schema.null_tokens)
    marked = np.empty(len(values), object)
    marked[:] = [
        None if text is None or (text.strip() in tokens and text not in levels) else text for text in values.tolist()
    ]
    return marked


def _listed(schema: Schema) -> str:
    names = schema.names
    return ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
