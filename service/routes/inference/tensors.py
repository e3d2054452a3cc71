"""Tensors as the protocol carries them, in JSON or as bytes, and as NumPy arrays.

Binary data are little-endian and row-major; a BYTES element has its length in four bytes before it. Numbers in JSON are
read as float64, as they are written, whichever floating datatype is declared, so that nothing is lost.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from kilter.service.detector import KilterError

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
_LENGTH = 4


def from_bytes(datatype: str, shape: Sequence[int], raw: memoryview) -> Array:
    """The array that binary data hold: of numbers, of bool, or of texts. Raises KilterError if they do not fit."""
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
    """The array that JSON data hold, flat or nested by the shape: of float64, NaN for null, or of texts and None.

    Raises KilterError if they do not fit.
    """
    values = _flat(shape, data)
    kinds = set(map(type, values)) - {type(None)}
    if datatype == BYTES:
        _expect(kinds, {str}, BYTES, "texts")
        texts = np.empty(len(values), object)
        texts[:] = values
        return texts.reshape(shape)
    _expect(
        kinds,
        {bool, int} if datatype == BOOL else {float, int},
        datatype,
        "true, false" if datatype == BOOL else "numbers",
    )
    try:
        numbers = np.array(values, np.float64)
    except OverflowError:
        raise KilterError("a number is beyond what a 64-bit float can hold") from None
    if datatype == BOOL:
        _within(numbers, 0, 1, BOOL)
    elif datatype in INTEGERS:
        limits = np.iinfo(INTEGERS[datatype])
        _within(numbers, limits.min, limits.max, datatype)
    return numbers.reshape(shape)


def _flat(shape: Sequence[int], data: Any) -> list[Any]:
    """The elements of data that are flat already or nested exactly by a shape."""
    if not isinstance(data, list):
        raise KilterError("data is a list of values")
    if len(shape) > 1 and data and isinstance(data[0], list):
        if len(data) != shape[0]:
            raise KilterError(f"data is nested otherwise than the shape {list(shape)} says")
        for size in shape[1:]:
            if not all(isinstance(row, list) and len(row) == size for row in data):
                raise KilterError(f"data is nested otherwise than the shape {list(shape)} says")
            data = [value for row in data for value in row]
    values: list[Any] = data
    if len(values) != math.prod(shape):
        raise KilterError(f"data has {len(values)} values, and the shape {list(shape)} has {math.prod(shape)}")
    return values


def _expect(kinds: set[type], known: set[type], datatype: str, what: str) -> None:
    if not kinds <= known:
        names = {str: "a text", bool: "true or false", list: "a list", dict: "an object"}
        [wrong, *_] = sorted(names.get(kind, "a number") for kind in kinds - known)
        raise KilterError(f"data of datatype {datatype} are {what} and null, and there is {wrong}")


def _within(numbers: Array, low: float, high: float, datatype: str) -> None:
    bad = ~np.isnan(numbers) & ((numbers < low) | (numbers > high) | (numbers != np.floor(numbers)))
    if bad.any():
        raise KilterError(f"{numbers[bad][0]:g} is no {datatype}")


def to_bytes(datatype: str, array: Array) -> bytes:
    """The binary data of an array of numbers or bool, in a datatype that it has or is cast to."""
    return array.astype(NUMBERS.get(datatype, np.bool_)).tobytes()
