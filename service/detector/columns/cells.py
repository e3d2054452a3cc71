"""The cells of a column in a file, and what training decides by them; polars is imported when it is needed."""

import math
import re
import shlex
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from kilter.service.detector.arrays import Floats
from kilter.service.detector.columns.base import FLOAT32_MAX, UNKNOWN, Column, describe_value
from kilter.service.detector.columns.codes import collapse, few_names, zeros_lead
from kilter.service.detector.columns.evidence import Numbers, find_numbers
from kilter.service.detector.columns.notation import Decimal as Decimal
from kilter.service.detector.columns.notation import Notation
from kilter.service.detector.errors import Problem, RecordsError

if TYPE_CHECKING:
    import polars as pl

NUMBERS = {
    ".": re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?"),
    ",": re.compile(r"[+-]?([0-9]+,?[0-9]*|,[0-9]+)([eE][+-]?[0-9]+)?"),
}
INFINITE = re.compile(r"[+-]?inf(inity)?", re.IGNORECASE | re.ASCII)
TAKEN = {"numeric": "numbers", "categorical": "categories", "timestamp": "times"}
THOUSANDS = r"^[+-]?[1-9][0-9]{0,2}[.,][0-9]{3}$"
NUMERIC_SHARE = 0.99
"""Smallest share of numbers among the values of a column of numbers; rows with anything else are errors."""


class TextCells(NamedTuple):
    """The cells of a column in a text table."""

    texts: "pl.Series"
    stripped: "pl.Series"
    """Without blanks around them."""
    numbers: "pl.Series | None"
    """float64, null where a text is no finite number; None for a column that is not `written_as_number`."""
    missing: frozenset[str]
    """Texts that mean a missing value, compared after stripping."""
    decimal: Decimal


class Decision(NamedTuple):
    """The column that training makes of cells, None if it leaves them out, and why."""

    column: Column | None
    why: str
    varies: bool = False


class TrainingCells:
    """All cells of one column of the training files."""

    def __init__(self, name: str, cells: "pl.Series", missing: tuple[str, ...], decimal: Decimal) -> None:
        """`missing` are texts that mean a missing value."""
        self.name = name
        self.cells = cells
        self.missing = missing
        self.decimal = decimal
        self.rows = len(cells)

    @cached_property
    def texts(self) -> "pl.Series | None":
        """The texts without blanks and without those that are missing; None if polars knows another type."""
        import polars as pl

        if not isinstance(self.cells.dtype, pl.String | pl.Categorical | pl.Enum | pl.Decimal | pl.Null):
            return None
        stripped = as_text(self.cells).str.strip_chars()
        return stripped.filter(stripped.is_not_null() & (stripped != "") & ~stripped.is_in([*self.missing]))

    @cached_property
    def distinct_texts(self) -> "pl.Series":
        """Each of the texts once, in the order in which they come."""
        if self.texts is None:
            raise TypeError("the column has no texts")
        return self.texts.unique(maintain_order=True)

    @cached_property
    def numbers(self) -> "pl.Series | None":
        """float64, null for what is no number; None for a column of times or flags by its type."""
        import polars as pl

        if self.texts is not None:
            return parse_series(self.texts, self.decimal)
        if self.cells.dtype.is_integer() or self.cells.dtype.is_float():
            return self.cells.cast(pl.Float64).fill_nan(None).drop_nulls()
        return None

    @cached_property
    def values(self) -> Floats:
        """The numbers that a float32 can hold."""
        if self.numbers is None:
            return np.empty(0)
        return self.numbers.filter(self.numbers.abs() <= FLOAT32_MAX).to_numpy()

    @cached_property
    def noted(self) -> Numbers | str | None:
        """How the numbers are written, where this is not plainly; a sentence if they are numbers that do not compare.

        Of a typed column of durations or times of day, that it holds these.
        """
        if self.texts is None:
            dtype = str(self.cells.dtype)
            if dtype.startswith("Duration"):
                return Numbers(Notation("duration"), {})
            return Numbers("clock", {}) if dtype == "Time" else None
        plain = self.numbers.count() if self.numbers is not None else 0
        if not self.count or (plain == self.count and not self._may_be_thousands):
            return None
        numbers = find_numbers(self.name, self.text_counts, self.decimal)
        if isinstance(numbers, Numbers) and plain >= NUMERIC_SHARE * self.count:
            more = sum(count for text, count in self.text_counts.items() if text in numbers.of)
            return numbers if more > plain or plain == self.count else None
        return numbers

    @cached_property
    def text_counts(self) -> dict[str, int]:
        """Each distinct text with the number of its rows, in the order in which they come."""
        if self.texts is None:
            return {}
        counted = self.texts.rename("text").to_frame().group_by("text", maintain_order=True).len("rows")
        return dict(counted.iter_rows())

    @property
    def _may_be_thousands(self) -> bool:
        """Whether each number with a sign has three digits after it, and others have none."""
        if self.texts is None:
            return False
        signs = self.texts.str.contains(r"[.,]")
        return bool(signs.any() and not signs.all() and self.texts.filter(signs).str.contains(THOUSANDS).all())

    def noted_values(self, numbers: Numbers) -> Floats:
        """The numbers that a notation reads, row by row, without missing ones and those that it does not read."""
        if self.texts is None:
            return typed_seconds(self.cells.drop_nulls())
        return np.array([numbers.of[text] for text in self.texts.to_list() if text in numbers.of])

    @cached_property
    def count(self) -> int:
        """Number of values that are not missing."""
        if self.texts is not None:
            return len(self.texts)
        return self.cells.count() if self.numbers is None else len(self.numbers)

    @property
    def are_numbers(self) -> bool:
        """Whether the column is one of numbers, whatever these mean."""
        if self.texts is None:
            return self.numbers is not None
        return self.count > 0 and len(self.values) >= NUMERIC_SHARE * self.count

    @cached_property
    def distinct_numbers(self) -> int:
        return len(np.unique(self.values))

    @property
    def are_whole(self) -> bool:
        """Whether every number is a whole one that a float64 holds exactly."""
        return bool((self.values == np.round(self.values)).all() and (np.abs(self.values) < 2**53).all())

    def spelled(self, number: float) -> tuple[str, ...]:
        """The ways in which a whole number is written."""
        if self.texts is None:
            return (str(int(number)), f"{number:.1f}")
        numbers = parse_series(self.distinct_texts, self.decimal)
        return tuple(sorted({str(int(number)), *self.distinct_texts.filter(numbers == number).to_list()}))

    @cached_property
    def code(self) -> str | None:
        """Why whole numbers are names of something, and no amounts; None if they are none."""
        if not self.are_numbers or not len(self.values):
            return None
        cells = self.level_texts if self.texts is not None else self.cells.drop_nulls()
        if self.texts is not None and zeros_lead(cells):
            return "codes, as zeros lead"
        if collapse(cells):
            return "codes, as a float does not tell whole numbers of so many digits apart"
        return few_names(self.name, self.values) if self.are_whole and len(self.values) == self.count else None

    @cached_property
    def level_texts(self) -> "pl.Series":
        """The values as the texts that a file would hold, without missing ones."""
        return as_text(self.cells).drop_nulls() if self.texts is None else self.texts

    @cached_property
    def distinct_levels(self) -> "pl.Series":
        """Each of these texts once, in the order in which they come."""
        return self.level_texts.unique(maintain_order=True)

    def with_missing(self, what: str) -> str:
        """A text about the values, with the number of missing ones."""
        missing = self.rows - self.count
        return f"{what}, {missing:,} missing" if missing else what

    def not_numbers(self, numbers: Numbers | None = None) -> str:
        """Examples of values that are no numbers, or that a notation does not read."""
        if self.texts is None or self.numbers is None:
            return "infinite or too large"
        if numbers is None:
            is_number = self.numbers.abs().fill_null(np.inf) <= FLOAT32_MAX
        else:
            is_number = self.texts.is_in([*numbers.of])
        others = self.texts.filter(~is_number).unique(maintain_order=True)
        return ", ".join(map(repr, others.head(3).to_list())) + (", ..." if len(others) > 3 else "")


def option_in_words(kind: str, name: str) -> str:
    """The option that makes a column one of a kind, in words."""
    return f"--{kind} {shlex.quote(name)} takes it for {TAKEN[kind]}"


def typed_seconds(cells: "pl.Series") -> Floats:
    """Durations or times of day of a typed table in seconds, NaN where null."""
    import polars as pl

    unit = getattr(cells.dtype, "time_unit", None) or "ns"
    return cells.to_physical().cast(pl.Float64).to_numpy() / {"ms": 1e3, "us": 1e6, "ns": 1e9}[unit]


def parse_number(text: str, decimal: Decimal) -> float:
    """The number in a stripped text, which may be infinite. Raises ValueError, with the remedy, if there is none."""
    if NUMBERS[decimal].fullmatch(text):
        return float(text.replace(",", "."))
    if INFINITE.fullmatch(text):
        return float(text)
    example = "1234.5" if decimal == "." else "1234,5"
    raise ValueError(f"a number like {example} is expected, not {describe_value(text)}; {UNKNOWN}")


def parse_series(texts: "pl.Series", decimal: Decimal) -> "pl.Series":
    """Stripped texts as float64, null where one is no finite number: `parse_number` of each, vectorised."""
    import polars as pl

    return only_finite(texts.to_frame().select(number_expression(pl.all(), decimal)).to_series())


def only_finite(numbers: "pl.Series") -> "pl.Series":
    """Numbers, null where one is infinite or NaN."""
    if math.isfinite(numbers.sum()):
        return numbers
    return numbers.set((~numbers.is_finite()).fill_null(value=False), None)


def number_expression(texts: "pl.Expr", decimal: Decimal) -> "pl.Expr":
    """Stripped texts as float64, which may be infinite or NaN; null where one is no number."""
    import polars as pl

    if decimal == ",":
        has_point = texts.str.contains(".", literal=True)
        texts = pl.when(~has_point).then(texts.str.replace(",", ".", literal=True))
    return texts.cast(pl.Float64, strict=False)


def as_text(cells: "pl.Series") -> "pl.Series":
    """The texts that a CSV file would hold, null where missing, NaN too. Raises RecordsError for lists, structs etc."""
    import polars as pl
    from polars.exceptions import PolarsError

    dtype = cells.dtype
    if dtype.is_float():
        whole = cells.cast(pl.Int64, strict=False)
        other = cells.fill_nan(None).cast(pl.String)
        return pl.select(pl.when(whole.cast(dtype) == cells).then(whole.cast(pl.String)).otherwise(other)).to_series()
    with suppress(PolarsError):
        if not dtype.is_nested():
            return cells.cast(pl.String)
    message = f"the column holds {dtype}, which is neither number, flag, text nor time"
    raise RecordsError([Problem(None, cells.name, message)])
