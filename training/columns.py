"""What one column of a table is, by its cells and its name."""

import re
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from kilter.service.detector.inputs import FLOAT32_MAX
from kilter.service.detector.schema import BooleanColumn, CategoricalColumn, Column, NumericColumn, TimestampColumn
from kilter.service.files.cells import Decimal, as_text, parse_numbers
from kilter.training.dates import TimeFormat, calendar_fields, text_format, unix_format

NUMBERS = 0.99
"""Smallest share of numbers among the values of a numeric column; rows with anything else are errors."""
MAX_LEVELS = 512
ROWS_PER_LEVEL = 5
"""A category has at most so many levels, and on average at least so many rows for each, or ten levels."""
NEARLY_UNIQUE = 0.9
FEW_ONES = 10
FEW_SHARE = 0.01
"""A column of 0 with fewer ones than either may be a count that has not yet shown a 2, and is numeric."""
FREE_TEXT = 40
"""Average length from which many distinct texts are prose."""
FLAGS = (("true", "false"), ("yes", "no"), ("t", "f"), ("y", "n"), ("on", "off"))
WORDS = {"true", "false", "yes", "no"}
"""Words that make a flag even where they are a column's only value."""
ID_NAME = re.compile(
    r"(^|[^a-z])(id|uuid|guid|index|idx|key|no|nr|number|row|serial)$|^(unnamed: \d+)?$", re.IGNORECASE
)
CAMEL_ID = re.compile(r"[a-z](Id|ID|Key|No|Nr|Number)$")


class Unused(NamedTuple):
    """A column that is left out."""

    why: str


class Used(NamedTuple):
    """A column that is used."""

    column: Column
    why: str
    varies: bool


class ColumnInference:
    """Decides on one column."""

    def __init__(self, name: str, cells: pl.Series, tokens: tuple[str, ...], decimal: Decimal) -> None:
        self._name = name
        self._cells = cells
        self._tokens = tokens
        self._decimal = decimal
        self._rows = len(cells)

    def decide(self) -> Used | Unused:
        kind = self._cells.dtype
        if kind == pl.Boolean:
            return self._boolean(self._cells.drop_nulls().n_unique(), ("true",), ("false",), self._cells.count())
        if kind.is_integer() or kind.is_float():
            values = self._cells.cast(pl.Float64).fill_nan(None)
            return self._of_numbers(values, values.drop_nulls()) if values.count() else self._all_missing()
        if kind == pl.Date or isinstance(kind, pl.Datetime):
            return self._dated(self._cells)
        if isinstance(kind, pl.String | pl.Categorical | pl.Enum | pl.Decimal | pl.Null):
            return self._of_texts(as_text(self._cells).str.strip_chars())
        return Unused(f"it holds {kind}, which is neither number, flag, text nor time")

    def _all_missing(self) -> Unused:
        return Unused(f"all {self._rows:,} values are missing")

    def _seen(self, count: int, what: str) -> str:
        missing = self._rows - count
        return f"{what}, {missing:,} missing" if missing else what

    def _dated(self, cells: pl.Series) -> Used | Unused:
        if isinstance(cells.dtype, pl.Datetime) and cells.dtype.time_zone:
            cells = cells.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
        present = cells.drop_nulls()
        if not len(present):
            return self._all_missing()
        return self._times(TimeFormat("iso", present.cast(pl.Datetime("us")).to_numpy()), len(present))

    def _of_texts(self, stripped: pl.Series) -> Used | Unused:
        present = stripped.filter(stripped.is_not_null() & (stripped != "") & ~stripped.is_in([*self._tokens]))
        count = len(present)
        if not count:
            return self._all_missing()
        numbers = parse_numbers(present, self._decimal)
        in_range = numbers.filter(numbers.abs() <= FLOAT32_MAX)
        if len(in_range) >= NUMBERS * count:
            return self._of_numbers(numbers, in_range, present)
        distinct = present.unique(maintain_order=True)
        words = {text.lower() for text in distinct.head(3).to_list()} if len(distinct) <= 3 else set()
        for true, false in FLAGS:
            if words == {true, false} or (len(words) == 1 and words <= {true, false} & WORDS):
                return self._boolean(len(words), (true,), (false,), count)
        found = text_format(distinct.to_list())
        if found is not None:
            return self._times(found, count)
        return self._category(present, distinct, len(in_range))

    def _boolean(self, distinct: int, true: tuple[str, ...], false: tuple[str, ...], count: int) -> Used | Unused:
        if not count:
            return self._all_missing()
        words = "/".join(map(repr, true)) + " and " + "/".join(map(repr, false))
        why = self._seen(count, f"all {count:,} values are {words}" if distinct > 1 else "a flag that never changes")
        return Used(BooleanColumn(self._name, true, false), why, varies=distinct > 1)

    def _of_numbers(self, column: pl.Series, numbers: pl.Series, present: pl.Series | None = None) -> Used | Unused:
        """`column` with nulls for what is no number, the usable `numbers` alone, and the texts they were."""
        count = len(numbers)
        values: npt.NDArray[np.float64] = numbers.to_numpy()
        distinct = numbers.n_unique()
        total = len(present) if present is not None else column.count()
        few = ""
        if distinct == 2 and count == total and set(numbers.unique().to_list()) == {0.0, 1.0}:
            ones = int(values.sum())
            if ones >= min(FEW_ONES, FEW_SHARE * count):
                return self._boolean(2, *self._spelled(present), count)
            few = f"; 1 in only {ones:,} of them, 0 in all others, too few to know that it is a flag and no count"
        integer = bool((values == np.round(values)).all() and (np.abs(values) < 2**53).all())
        if integer and count == total:
            found = unix_format(self._name, values)
            found = found or self._compact_date(values, distinct)
            if found is not None:
                return self._times(found, count)
            if identifier := self._numbered(values, distinct):
                return Unused(identifier)
        junk = total - count
        share = f"{count:,} of {total:,} values are numbers" if junk else f"all {count:,} values are numbers"
        why = self._seen(total, share)
        if distinct == 1:
            why += f"; always {values[0]:g}, so that a change is what counts"
        why += few
        if junk:
            examples = self._examples(present, column)
            why += f"; {junk:,} {'row' if junk == 1 else 'rows'} with anything else ({examples}) cannot be read"
        neutral = NumericColumn(self._name, center=0.0, scale=1.0, minimum=0.0, maximum=0.0, integer=integer)
        return Used(neutral, why, varies=distinct > 1)

    def _spelled(self, present: pl.Series | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """How 1 and 0 are written."""
        if present is None:
            return ("1", "1.0"), ("0", "0.0")
        texts = present.unique().to_list()
        numbers = parse_numbers(pl.Series(texts), self._decimal).to_list()
        spelled = {
            value: tuple(sorted({str(int(value)), *(t for t, n in zip(texts, numbers, strict=True) if n == value)}))
            for value in (1.0, 0.0)
        }
        return spelled[1.0], spelled[0.0]

    def _compact_date(self, values: npt.NDArray[np.float64], distinct: int) -> TimeFormat | None:
        if not (values.min() >= 19_800_101 and values.max() <= 21_001_231 and distinct > 1):
            return None
        found = text_format([f"{value:.0f}" for value in np.unique(values)])
        return found if found is not None and len(found.times) == distinct else None

    def _numbered(self, values: npt.NDArray[np.float64], distinct: int) -> str | None:
        """Why whole numbers are an identifier, if they are one."""
        count = len(values)
        if count < 20:
            return None
        steps = np.diff(values)
        if distinct == count == self._rows and (steps == 1).all():
            return "it counts the rows"
        if distinct == count and ((steps > 0).all() or (steps < 0).all()):
            return f"an identifier: {distinct:,} distinct whole numbers in order"
        if distinct >= 0.5 * count and (ID_NAME.search(self._name) or CAMEL_ID.search(self._name)):
            return f"an identifier by its name: {distinct:,} distinct whole numbers in {self._rows:,} rows"
        return None

    def _times(self, found: TimeFormat, count: int) -> Used | Unused:
        fields = calendar_fields(found.times)
        first, last = (
            str(time.astype("datetime64[s]")).replace("T", " ") for time in (found.times.min(), found.times.max())
        )
        span = f"from {first} to {last}"
        if not fields:
            return Unused(f"times {span}: too short a time to know what hour or weekday is usual")
        why = self._seen(count, f"times {span}, read as {found.form}, scored by {', '.join(fields)}")
        why += f"; {found.doubt}" if found.doubt else ""
        return Used(TimestampColumn(self._name, found.form, fields), why, varies=True)

    def _category(self, present: pl.Series, distinct: pl.Series, numbers: int) -> Used | Unused:
        count, levels = len(present), len(distinct)
        in_rows = f"{levels:,} distinct values in {self._rows:,} rows"
        if (
            levels <= MAX_LEVELS
            and (levels <= 10 or levels * ROWS_PER_LEVEL <= count)
            and levels < NEARLY_UNIQUE * count
        ):
            why = self._seen(count, f"{levels:,} distinct {'value' if levels == 1 else 'values'}")
            return Used(CategoricalColumn(self._name, (), ()), why, varies=levels > 1)
        if numbers >= 0.5 * count:
            examples = self._examples(present, parse_numbers(present, self._decimal))
            return Unused(
                f"{numbers:,} of {count:,} values are numbers and the rest are not ({examples}): clean them to use it"
            )
        length = distinct.str.len_chars().mean()
        if isinstance(length, float) and length >= FREE_TEXT:
            return Unused(f"free text: {in_rows}, {length:.0f} characters on average")
        if levels >= NEARLY_UNIQUE * count:
            return Unused(f"an identifier: {in_rows}")
        return Unused(f"{in_rows}: too many for a category")

    def _examples(self, present: pl.Series | None, numbers: pl.Series) -> str:
        if present is None:
            return "infinite or too large"
        junk = present.filter(numbers.is_null() | (numbers.abs() > FLOAT32_MAX)).unique(maintain_order=True)
        return ", ".join(map(repr, junk.head(3).to_list())) + (", ..." if len(junk) > 3 else "")
