"""Columns of numbers."""

import math
import re
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import msgspec
import numpy as np

from kilter.service.detector.arrays import Array, Floats
from kilter.service.detector.columns.base import (
    FLOAT32_MAX,
    LIMIT,
    NUMBERS,
    TRUTHS,
    Column,
    Feature,
    beyond_range,
    describe_value,
    finite_number,
)
from kilter.service.detector.columns.cells import (
    Decimal,
    Decision,
    TrainingCells,
    option_in_words,
    parse_number,
    typed_seconds,
)
from kilter.service.detector.columns.evidence import Numbers
from kilter.service.detector.columns.notation import Notation
from kilter.service.detector.errors import Problem

if TYPE_CHECKING:
    import polars as pl

HEAVY = 10.0  # standard deviations from the median beyond which a column's tail is heavy
HEAVY_COUNT = 5.0  # the same for a column of whole numbers
DIGITS = 5  # decimal places of a number that the network gives, in units of its own size
LEAST_SPREAD = 0.2
"""A count's standard deviation, after its transform, is taken no smaller: one rare event must not drown all else."""
FEW_LEVELS = (3, 10)  # distinct whole numbers with gaps that may be names without an order
LEAST_NUMBERED = 20  # rows from which on whole numbers may be an identifier
WAY_STEPS = 32  # numbers that are tried between one and what replaces it
ID_NAME = re.compile(
    r"(^|[^a-z])(id|uuid|guid|index|idx|key|no|nr|number|row|serial)$|^(unnamed: \d+)?$", re.IGNORECASE
)
CAMEL_ID = re.compile(r"[a-z](Id|ID|Key|No|Nr|Number)$")


class NumericColumn(Column, msgspec.Struct, frozen=True, tag="numeric", tag_field="kind"):
    """A number, standardised as (t(value) - center) / scale in float64."""

    name: str
    center: float
    scale: float
    minimum: float
    """Smallest and largest value in the fitting rows, as they came."""
    maximum: float
    transform: Literal["identity", "asinh"] = "identity"
    """`asinh`: t(v) = asinh((v - shift) / unit), for heavy tails."""
    shift: float = 0.0
    unit: float = 1.0
    constant: float | None = None
    """The only value in the fitting rows, if there is only one; the feature is a flag then, 1 for another value."""
    integer: bool = False
    missing: int = 0
    notation: Notation | None = None
    """How its texts are written; None for plain numbers, with the decimal sign of the schema."""

    dtype = np.dtype(np.float64)
    absent = np.nan
    is_number = True
    json_type = Annotated[float, msgspec.Meta(ge=-FLOAT32_MAX, le=FLOAT32_MAX)] | None
    datatype = "FP64"

    @property
    def written_as_number(self) -> bool:  # type: ignore[override]
        return self.notation is None

    @property
    def takes_texts(self) -> bool:  # type: ignore[override]
        return self.notation is not None

    @property
    def extremes(self) -> tuple[float, float]:
        return self.minimum, self.maximum

    @property
    def affine(self) -> tuple[float, float] | None:
        return (self.center, self.scale) if self.constant is None and self.transform == "identity" else None

    def features(self, index: int) -> tuple[Feature, ...]:
        return (Feature(index, "gaussian" if self.constant is None else "flag"),)

    def read(self, value: Any) -> float:
        if self.notation is not None:
            if isinstance(value, str):
                return finite_number(self.notation.number(value.strip()))
            if isinstance(value, timedelta | np.timedelta64) and self.notation.kind == "duration":
                return float(
                    value / np.timedelta64(1, "s") if isinstance(value, np.timedelta64) else value.total_seconds()
                )
        is_flag = isinstance(value, bool | np.bool_)
        if (is_flag and not self._counts_to_1) or not isinstance(value, NUMBERS | np.bool_):
            raise ValueError(f"a number is expected, not {describe_value(value)}")
        return finite_number(value)

    def read_all(self, cells: Sequence[Any]) -> Array | None:
        if not set(map(type, cells)) <= {float, int}:
            return None
        try:
            numbers = np.array(cells, np.float64)
        except OverflowError:
            return None
        return None if (np.abs(numbers) > FLOAT32_MAX).any() else numbers

    def from_array(self, values: Array) -> Array | None:
        if values.dtype.kind == "m" and self._is_duration:
            return np.asarray(values / np.timedelta64(1, "s"), np.float64)
        return values.astype(np.float64) if values.dtype.kind in "fiu" else None

    def problems(self, values: Array) -> Iterable[Problem]:
        return beyond_range(self, values)

    def holds(self, dtype: "pl.DataType") -> bool:
        return dtype.is_integer() or dtype.is_float() or (self._is_duration and str(dtype).startswith("Duration"))

    def from_series(self, cells: "pl.Series") -> Array:
        return typed_seconds(cells) if str(cells.dtype).startswith("Duration") else Column.from_series(self, cells)

    def read_text(self, text: str, decimal: Decimal) -> float:
        if self.notation is not None:
            return self.notation.number(text)
        word = text.lower()
        return TRUTHS[word] if word in TRUTHS and self._counts_to_1 else parse_number(text, decimal)

    @property
    def _counts_to_1(self) -> bool:
        """Whether the fitting rows hold nothing but 0 and 1, so that true and false can only mean these."""
        return self.integer and self.minimum in (0, 1) and (self.maximum == 1 or self.constant == 0)

    def encode(self, values: Array) -> Array:
        if self.constant is not None:
            values = np.where(np.isnan(values), np.nan, values != self.constant)
        else:
            if self.transform == "asinh":
                values = np.arcsinh((values - self.shift) / self.unit)
            values = np.clip((values - self.center) / self.scale, -LIMIT, LIMIT)
        return values[:, None]

    def restore(self, feature: float) -> float:
        if self.constant is None and self.transform == "identity":  # many times as fast, with the same digits
            return float(feature) * self.scale + self.center
        return float(self._restored(np.float64(feature)))

    def _restored(self, features: Any) -> Any:
        """Numbers, of whatever shape, within what a float can hold."""
        if self.constant is not None:
            return np.where(np.isnan(features), np.nan, self.constant)
        with np.errstate(over="ignore"):
            values = features * self.scale + self.center
            if self.transform == "asinh":
                values = np.sinh(np.clip(values, -80, 80)) * self.unit + self.shift
            return values

    def decode(self, features: Floats) -> Floats:
        """With no more digits than the network can tell apart: some of the deviation, or of what lies beyond it."""
        values: Floats = np.clip(self._restored(features[:, 0].astype(np.float64)), self.minimum, self.maximum)
        if self.constant is None:
            middle, unit = (self.center, self.scale) if self.transform == "identity" else (self.shift, self.unit)
            distance = np.maximum(np.abs(np.nan_to_num(values) - middle), unit)
            places = np.zeros(len(values)) if self.integer else DIGITS - np.floor(np.log10(distance))
            for place in np.unique(places).tolist():
                rows = places == place
                values[rows] = np.round(values[rows], int(place))
        return values.clip(self.minimum, self.maximum)

    def replacements(self, value: Any, features: Floats) -> list[Any]:
        """What is expected, and what is nearest within the range."""
        nearest = [] if np.isnan(value) else [float(np.clip(value, self.minimum, self.maximum))]
        return [
            number for number in dict.fromkeys([*super().replacements(value, features), *nearest]) if number != value
        ]

    def way(self, value: Any, target: Any) -> list[Any]:
        """From the end of the range where the value lies beyond; with as few digits as tell the steps apart."""
        if self.constant is not None or np.isnan(value):
            return []
        start, end = self.encode(np.clip([value, target], self.minimum, self.maximum))[:, 0]
        values = self._restored(np.linspace(start, end, WAY_STEPS + 1))
        step = float(np.median(np.abs(np.diff(values))))
        if not self.integer and not step > 0:
            return []
        values = np.round(values, 0 if self.integer else -math.floor(math.log10(step)))
        return [number for number in dict.fromkeys(values.clip(self.minimum, self.maximum).tolist()) if number != value]

    @property
    def _is_duration(self) -> bool:
        return self.notation is not None and self.notation.kind == "duration"

    def shown(self, value: Any) -> float | int | str | None:
        return None if np.isnan(value) else self._spelled(self._number(float(value)))

    def expected(self, features: Floats) -> float | int | str:
        value = min(max(self.restore(float(features[0])), self.minimum), self.maximum)
        return self._spelled(self._number(float(f"{value:.4g}") if self.constant is None else value))

    def _spelled(self, number: float | int) -> float | int | str:
        """A number as the column's own texts have it."""
        return number if self.notation is None else self.notation.spell(number)

    def _number(self, value: float) -> float | int:
        return round(value) if self.integer and abs(value) < 2**53 else value

    def describe(self) -> str:
        if self.notation is None:
            low, high, only = f"{self.minimum:.4g}", f"{self.maximum:.4g}", f"{self.constant or 0:.4g}"
        else:
            low, high, only = map(self.notation.spell, (self.minimum, self.maximum, self.constant or 0.0))
        values = f"{low} to {high}" if self.constant is None else f"always {only}"
        return values if self.notation is None else f"{values}; {self.notation.in_words(whole=self.integer)}"

    def json_schema(self) -> dict[str, Any]:
        values = f"{self.minimum:g} to {self.maximum:g} in the fitting rows"
        kinds = ["number", "null"]
        if self.notation is not None:
            kinds.insert(1, "string")
            values += f"; as texts, {self.notation.in_words(whole=self.integer)}"
        return {"type": kinds, "minimum": -FLOAT32_MAX, "maximum": FLOAT32_MAX, "description": values}

    def differs(self, other: Column) -> str | None:
        if not isinstance(other, NumericColumn) or other.notation == self.notation:
            return None
        mine, its = (
            "plain numbers" if one.notation is None else one.notation.in_words(whole=one.integer)
            for one in (self, other)
        )
        return f"it reads the values of {self.name!r} as {mine}, the serving version as {its}"

    def group_name(self, value: Any) -> str | None:
        if np.isnan(value):
            return None
        return str(int(value)) if value == int(value) else repr(float(value))

    def group_value(self, name: str) -> float:
        return float(name)

    @classmethod
    def infer(cls, cells: TrainingCells) -> Decision | None:
        if isinstance(numbers := cells.noted, Numbers):
            return None if numbers.notation == "clock" else cls.of_notation(cells, numbers, numbers.notation)
        if not cells.are_numbers or not len(cells.values) or cells.code is not None:
            return None
        return cls.of_plain(cells)

    @classmethod
    def of_plain(cls, cells: TrainingCells, *, wanted: bool = False) -> Decision:
        """The decision about cells that are plain numbers; where a column is `wanted`, an identifier is no matter."""
        values, count = cells.values, len(cells.values)
        whole, varies = cells.are_whole, cells.distinct_numbers > 1
        if not wanted and whole and count == cells.count and (identifier := _numbered(cells)):
            return Decision(None, f"{identifier}; {option_in_words('numeric', cells.name)}")
        others = cells.count - count
        share = f"{count:,} of {cells.count:,} values are numbers" if others else f"all {count:,} values are numbers"
        why = cells.with_missing(share)
        if not varies:
            why += f"; always {values[0]:g}, so that a change is what counts"
        if not others and set(np.unique(values).tolist()) == {0.0, 1.0}:
            ones = f"1 in only {int(values.sum()):,} of them, 0 in all others"
            why += f"; {ones}, too few to know that it is a flag and not a count"
        if others:
            why += f"; {others:,} row{'s' * (others != 1)} with anything else ({cells.not_numbers()}) cannot be read"
        if not wanted and whole and FEW_LEVELS[0] <= cells.distinct_numbers <= FEW_LEVELS[1] and _has_gaps(values):
            why += f"; if they have no order, {option_in_words('categorical', cells.name)}"
        return Decision(cls(cells.name, 0.0, 1.0, 0.0, 0.0, integer=whole), why, varies)

    @classmethod
    def of_notation(cls, cells: TrainingCells, numbers: Numbers, notation: Notation) -> Decision:
        """The decision about cells that are numbers of a notation."""
        values = cells.noted_values(numbers)
        whole = bool((values == np.round(values)).all() and (np.abs(values) < 2**53).all())
        others = cells.count - len(values)
        share = f"{len(values):,} of {cells.count:,}" if others else f"all {cells.count:,}"
        why = cells.with_missing(f"{share} values are {notation.in_words(whole=whole)}")
        if others:
            rows = f"{others:,} row{'s' * (others != 1)}"
            why += f"; {rows} with anything else ({cells.not_numbers(numbers)}) cannot be read"
        if numbers.doubt:
            why += f"; {numbers.doubt}"
        column = cls(cells.name, 0.0, 1.0, 0.0, 0.0, integer=whole, notation=notation)
        return Decision(column, why, len(np.unique(values)) > 1)

    def fit(self, values: Floats) -> Self:
        present = values[~np.isnan(values)]
        missing = len(values) - len(present)
        if not len(present):
            return msgspec.structs.replace(self, missing=missing, minimum=0.0, maximum=0.0)
        low, high = float(present.min()), float(present.max())
        column = msgspec.structs.replace(self, missing=missing, minimum=low, maximum=high)
        # Divided before it is squared: a column of 1e300 must not overflow.
        unit = max(abs(low), abs(high)) or 1.0
        scale = float((present / unit).std()) * unit
        if low == high or scale <= 1e-12 * unit:
            return msgspec.structs.replace(column, constant=low, center=low, scale=1.0)
        column = column._tamed(present, scale)
        if column.transform == "identity":
            return msgspec.structs.replace(column, center=float((present / unit).mean()) * unit, scale=scale)
        present = np.arcsinh((present - column.shift) / column.unit)
        least = LEAST_SPREAD if column.unit == 1 else 0.0
        return msgspec.structs.replace(column, center=float(present.mean()), scale=max(float(present.std()), least))

    def _tamed(self, present: Floats, deviation: float) -> Self:
        """The column with a transform if it has a heavy tail, as counts, amounts and durations have.

        Whole numbers are taken as they are, others from the median in units of the median distance from it.
        """
        median = float(np.median(present))
        distance = np.abs(present - median)
        whole = bool((present == np.round(present)).all())
        if present.min() < 0 or distance.max() <= (HEAVY_COUNT if whole else HEAVY) * deviation:
            return self
        if whole:
            return msgspec.structs.replace(self, transform="asinh")
        unit = float(np.median(distance[distance > 0]))
        return msgspec.structs.replace(self, transform="asinh", shift=median, unit=unit)

    def usual(self, rng: "np.random.Generator") -> float | int:
        return self._cell(self.restore(rng.normal()), self.minimum, self.maximum)

    def central(self) -> float | int:
        return self._cell(self.restore(0.0), self.minimum, self.maximum)

    def odd(self, rng: "np.random.Generator") -> float | int | None:
        if rng.random() < 0.3:
            return None
        return self._cell(self.maximum + 5 * (self.maximum - self.minimum or 1.0), -3e38, 3e38)

    def _cell(self, value: float, low: float, high: float) -> float | int:
        """A number between two others, as a record may have it."""
        number = self._number(float(np.clip(value, low, high)))
        return number if isinstance(number, int) else float(f"{number:.6g}")


def _has_gaps(values: Floats) -> bool:
    """Whether whole numbers leave out more between the smallest and the largest than there are."""
    distinct = np.unique(values)
    return bool(distinct[-1] - distinct[0] + 1 > 2 * len(distinct))


def _numbered(cells: TrainingCells) -> str | None:
    """Why whole numbers are an identifier, if they are one."""
    values, count, distinct = cells.values, len(cells.values), cells.distinct_numbers
    if count < LEAST_NUMBERED:
        return None
    steps = np.diff(values)
    if distinct == count == cells.rows and (steps == 1).all():
        return "it counts the rows"
    if distinct == count and ((steps > 0).all() or (steps < 0).all()):
        return f"an identifier: {distinct:,} distinct whole numbers in order"
    if distinct >= 0.5 * count and (ID_NAME.search(cells.name) or CAMEL_ID.search(cells.name)):
        return f"an identifier by its name: {distinct:,} distinct whole numbers in {cells.rows:,} rows"
    return None
