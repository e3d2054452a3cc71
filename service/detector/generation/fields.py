"""The values of a field as one of few codes, and values drawn from within a code.

A level is a code of its own, and so are a number that is often repeated and a value that is missing. Of all other
numbers as many as a code has make one: such a number is drawn evenly by rank from what the fitting rows have between
two of their quantiles, and given as many digits as theirs.
"""

from collections.abc import Collection, Mapping
from typing import Any, Self

import msgspec
import numpy as np

from kilter.service.detector.arrays import Array, Floats, Positions
from kilter.service.detector.columns import Column
from kilter.service.detector.columns.base import describe_value, list_names, missing_values
from kilter.service.detector.columns.cells import Decimal
from kilter.service.detector.errors import ArtifactError, KilterError

CODES = (8, 64)  # fewest and most codes of a field of numbers, but for one of fewer numbers
ROWS_PER_CODE = 20
FEW_NUMBERS = 32  # so many distinct numbers are each a code of its own
LEAST_REPEATED = 3  # rows that a number must be in to be a code of its own among others
ROWS_PER_KNOT = 5  # fitting rows from one quantile that is kept to the next, so that no row can be read off
MOST_KNOTS = 512
STEPS = (8.64e10, 3.6e9, 6e7, *(10.0**i for i in range(6, 3, -1)), 3600.0, 1e3, 100.0, 60.0, 10.0)
"""Steps above 1 in which numbers come: days, hours and minutes in microseconds, powers of ten, hours, minutes."""
PLACES = 9  # most decimal places that are looked for
EXACT = 1e-9  # a number is a multiple of a step up to this share of the largest


class FieldShape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many codes a field has, one kind after the other: levels, or repeated numbers and bins, then missing."""

    levels: int = 0
    rest: bool = False
    """Whether the levels that are too rare share a code, which is never drawn."""
    repeated: int = 0
    bins: int = 0
    knots: int = 0
    """Quantiles that are kept of the numbers in bins, the smallest and the largest included; knots - 1 = m bins."""
    step: float = 0.0
    """The step in which the numbers come; 0 if there is none."""
    missing: bool = False

    @property
    def known(self) -> int:
        """Codes of values that are not missing."""
        return self.levels + self.rest + self.repeated + self.bins

    @property
    def size(self) -> int:
        """All codes."""
        return self.known + self.missing

    @property
    def numbers(self) -> int:
        """Numbers that are kept for it."""
        return self.repeated + self.knots


class FieldCodes:
    """The codes of one field. Values are the typed ones of its column, (n,); a code is -1 where a value has none."""

    def __init__(self, column: Column, shape: FieldShape, numbers: Floats) -> None:
        """`numbers`, (shape.numbers,), are the repeated ones and the knots, each ascending. Raises ArtifactError."""
        self.column = column
        self.shape = shape
        self.repeated, self._knots = np.split(numbers, [shape.repeated])
        parts = [self.repeated, self._knots]
        if any((np.diff(part) < 0).any() for part in parts) or (
            shape.bins > 0 and ((shape.knots - 1) % shape.bins or shape.knots < 2)
        ):
            raise ArtifactError(f"the numbers of the field {column.name!r} are not those of a generator")

    @classmethod
    def fit(cls, column: Column, values: Array) -> Self:
        """The codes of a column by the fitting rows."""
        if column.dtype.kind == "O":
            codes = column.encode(values)[:, 0]
            known, levels = codes[~np.isnan(codes)], len(column.counts or ())
            missing = bool(len(known) < len(values))
            return cls(column, FieldShape(levels, bool((known >= levels).any()), missing=missing), np.empty(0))
        numbers = _as_numbers(values)
        present = np.sort(numbers[~np.isnan(numbers)])
        missing = len(present) < len(numbers)
        distinct, counts = np.unique(present, return_counts=True)
        if len(distinct) <= FEW_NUMBERS:
            return cls(column, FieldShape(repeated=len(distinct), missing=missing), distinct)
        most = min(max(len(present) // ROWS_PER_CODE, CODES[0]), CODES[1])
        repeated = distinct[counts >= max(len(present) / most, LEAST_REPEATED)]
        others = present[~np.isin(present, repeated)]
        bins = max(1, round(most * len(others) / len(present))) if len(others) else 0
        each = max(1, min(len(others) // ROWS_PER_KNOT, MOST_KNOTS) // max(bins, 1))
        knots = np.quantile(others, np.linspace(0, 1, bins * each + 1)) if bins else np.empty(0)
        shape = FieldShape(0, False, len(repeated), bins, len(knots), _step(present), missing)
        return cls(column, shape, np.concatenate([repeated, knots]))

    @property
    def numbers(self) -> Floats:
        """What is kept of the numbers, (shape.numbers,)."""
        return np.concatenate([self.repeated, self._knots])

    @property
    def ranks(self) -> Positions | None:
        """The place of each code but that of missing values in the order of their numbers; None of levels."""
        if self.column.dtype.kind == "O":
            return None
        middles = (self._edges[1:] + self._edges[:-1]) / 2
        return np.argsort(np.argsort(np.concatenate([self.repeated, middles]), kind="stable"))

    @property
    def drawn(self) -> int:
        """How many of the first codes are drawn, beside that of a missing value: all but that of rare levels."""
        return self.shape.known - self.shape.rest

    @property
    def _edges(self) -> Floats:
        return self._knots[:: (self.shape.knots - 1) // self.shape.bins] if self.shape.bins else self._knots[:1]

    def encode(self, values: Array) -> Positions:
        """The codes of values. Where all numbers are repeated ones, any other has the code of the nearest."""
        shape = self.shape
        if self.column.dtype.kind == "O":
            features = self.column.encode(values)[:, 0]
            absent = np.isnan(features)
            codes = np.where(absent, 0, features).astype(np.int64)
            codes[codes >= shape.known] = -1
        else:
            numbers = _as_numbers(values)
            absent = np.isnan(numbers)
            codes = np.full(len(numbers), -1, np.int64)
            if shape.bins:
                codes = shape.repeated + np.searchsorted(self._edges[1:-1], numbers, side="right")
            if shape.repeated:
                after = np.searchsorted(self.repeated, numbers).clip(0, shape.repeated - 1)
                before = (after - 1).clip(0)
                nearer = np.abs(self.repeated[before] - numbers) < np.abs(self.repeated[after] - numbers)
                nearest = np.where(nearer, before, after)
                same = self.repeated[nearest] == numbers
                codes = np.where(same if shape.bins else ~absent, nearest, codes)
        codes[absent] = shape.known if shape.missing else -1
        return codes

    def decode(self, codes: Positions, rng: np.random.Generator) -> Array:
        """Values of codes, a number of a bin drawn by rank from those that it has."""
        shape = self.shape
        values = missing_values(self.column, len(codes))
        there = codes < shape.known
        if self.column.dtype.kind == "O":
            values[there] = self.column.decode(codes[there, None].astype(np.float64))
            return values
        numbers = np.zeros(len(codes))
        exact = codes < shape.repeated
        numbers[exact] = self.repeated[codes[exact]]
        within = there & ~exact
        rank = (codes[within] - shape.repeated + rng.random(int(within.sum()))) / max(shape.bins, 1)
        if shape.bins:
            drawn = np.interp(rank, np.linspace(0, 1, shape.knots), self._knots)
            numbers[within] = rounded_to(drawn, shape.step).clip(self._knots[0], self._knots[-1])
        values[there] = self._as_values(numbers[there])
        return values

    def typed(self, cell: Any, decimal: Decimal, missing: Collection[str]) -> Any:
        """The typed value of a cell as JSON or, of a text, a file has it. Raises KilterError if no record can have it.

        `missing` are the texts that mean a missing value.
        """
        column, shape = self.column, self.shape
        values = missing_values(column, 1)
        try:
            if isinstance(cell, str):
                text = cell.strip()
                values[0] = column.absent if text in missing else column.read_text(text, decimal)
            elif cell is not None:
                values[0] = column.read(cell)
        except ValueError as error:
            raise KilterError(f"{column.name!r}: {error}") from None
        code = int(self.encode(values)[0])
        if column.cell(values[0]) is None:
            if not shape.missing:
                raise KilterError(f"{column.name!r} is never missing in the fitting rows: give it a value")
        elif column.dtype.kind != "O":
            low, high = self._span()
            if not low <= _as_numbers(values)[0] <= high:
                first, last = (column.shown(value) for value in self._as_values(np.array([low, high])))
                raise KilterError(
                    f"{column.name!r}: {describe_value(cell)} is beyond the fitting rows, which go from {first} to "
                    f"{last}"
                )
        elif not 0 <= code < self.drawn:
            levels = [str(level) for level in self.decode(np.arange(shape.levels), np.random.default_rng(0))]
            raise KilterError(
                f"{column.name!r}: {describe_value(cell)} is in too few of the fitting rows; there are "
                f"{list_names(levels, 10)}"
            )
        return values[0]

    def _span(self) -> tuple[float, float]:
        """The smallest and the largest number; NaN if there is none."""
        ends = [part[end] for part in (self.repeated, self._knots) if len(part) for end in (0, -1)]
        return float(min(ends, default=np.nan)), float(max(ends, default=np.nan))

    def _as_values(self, numbers: Floats) -> Array:
        """Numbers as typed values."""
        return numbers.astype(np.int64).astype(self.column.dtype) if self.column.dtype.kind == "M" else numbers


def split_numbers(shapes: tuple[FieldShape, ...], numbers: Floats) -> list[Floats]:
    """The numbers of each field, one field after the other. Raises ArtifactError if they are not so many."""
    ends = np.cumsum([shape.numbers for shape in shapes])
    if numbers.shape != (ends[-1],):
        raise ArtifactError(f"a generator of {ends[-1]} numbers has {numbers.shape}")
    return np.split(numbers, ends[:-1])


def rounded_to(numbers: Floats, step: float) -> Floats:
    """Numbers as multiples of a step; as they are where it is 0."""
    if not step:
        return numbers
    if step < 1:
        return np.round(numbers, round(-np.log10(step)))
    return np.round(numbers / step) * step


def _step(numbers: Floats) -> float:
    """The largest step of which all numbers are multiples; 0 if there is none."""
    tolerance = EXACT * float(np.abs(numbers).max())
    steps = (*STEPS, *(10.0**-places for places in range(PLACES + 1)))
    return next((step for step in steps if (np.abs(rounded_to(numbers, step) - numbers) <= tolerance).all()), 0.0)


def _as_numbers(values: Array) -> Floats:
    """Typed values as float64, NaN where missing; of times the microseconds."""
    if values.dtype.kind != "M":
        return values.astype(np.float64)
    return np.where(np.isnat(values), np.nan, values.astype("datetime64[us]").astype(np.int64))


def conditions_of(
    fields: Mapping[str, FieldCodes], where: Mapping[str, Any], decimal: Decimal, missing: Collection[str]
) -> dict[str, Any]:
    """The typed values of cells that records are to have. Raises KilterError for one that no record can have."""
    values = {}
    for name, cell in where.items():
        if name not in fields:
            raise KilterError(f"the model has no column {name!r}: it has {list_names([*fields], 10)}")
        values[name] = fields[name].typed(cell, decimal, missing)
    return values
