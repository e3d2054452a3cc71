"""What every kind of column has: how its cells are read, encoded, restored, explained and described.

A *column* is what the user has; a *feature* is one float32 input of the network. A kind of column is a frozen struct
that subclasses `Column`, in one module, and an entry in the list `KINDS` of this package. Nothing else asks which kind
a column is.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Self

import numpy as np

from kilter.service.detector.arrays import Array, Floats
from kilter.service.detector.errors import PictureError, Problem

if TYPE_CHECKING:
    import polars as pl

    from kilter.service.detector.columns.cells import Decision, TextCells, TrainingCells

FeatureKind = Literal["gaussian", "flag", "level", "pixels"]
Value = float | int | str | bool | None
"""A cell as JSON holds it."""
FLOAT32_MAX = float(np.finfo(np.float32).max)
LIMIT = 1e3
"""Standardised numbers are held within ± this many units: beyond, a float32 could no longer tell neighbours apart, and
a record's verdict would depend on its batch."""
UNKNOWN = "leave the cell empty if it is unknown"
ABSENT = object()
"""Stands for a cell that is not there at all, which is the record's problem and not the cell's."""


class Feature(NamedTuple):
    """One float32 input of the network, or the many of a picture; NaN where the column's value is missing.

    `gaussian`: a standardised number. `flag`: 0 or 1. `level`: a code in 0..levels-1, or `levels` for a level that
    training never saw. `pixels`: a picture, row by row, its channels side by side, from 0 (black) to 1.
    """

    column: int
    """Index of the column in `Schema.columns`."""
    kind: FeatureKind
    levels: int = 0
    size: int = 1
    """Number of floats."""


class Affine(NamedTuple):
    """A feature that is (value - center) / scale, so that many columns can be encoded at once."""

    center: float
    scale: float


class Column:
    """One column of a record. Subclasses are frozen structs with a tag; see the module."""

    name: str
    missing: int
    """Number of fitting rows in which the value was missing."""

    modality: ClassVar[str] = "table"
    """Which modality a schema that begins with such a column has."""
    dtype: ClassVar[np.dtype[Any]]
    """Of the typed values of a table."""
    absent: ClassVar[Any]
    """The typed value that stands for a missing one."""
    is_number: ClassVar[bool] = False
    """Whether a typed value is a float64, NaN where missing, that can stand in a matrix."""
    is_time: ClassVar[bool] = False
    can_group: ClassVar[bool] = True
    """Whether records can be grouped by it, with a threshold for each group."""
    comparable: ClassVar[bool] = True
    """Whether the values of an hour of traffic look like those of training while nothing has changed."""
    required: ClassVar[bool] = False
    """Whether a missing value is a problem."""
    written_as_number: ClassVar[bool] = False
    """Whether texts of it are numbers, so that these are parsed for many columns at once."""

    @property
    def kind(self) -> str:
        """Its tag in a manifest, and what it is called in reports."""
        return str(type(self).__struct_config__.tag)  # type: ignore[attr-defined]

    value_axes: ClassVar[tuple[str, ...]] = ()
    """What the axes of a typed value mean, where it is an array itself."""

    @property
    def value_shape(self) -> tuple[int, ...]:
        """Of a typed value, where it is an array itself."""
        return ()

    @property
    def stored_whole(self) -> bool:
        """Whether a file with types stores its values as whole numbers, as long as they are."""
        return False

    @property
    def affine(self) -> Affine | None:
        """How it is standardised, if that is all that encoding does."""
        return None

    @property
    def levels_seen_once(self) -> int | None:
        """Number of levels that one fitting row alone has; None for a column without levels."""
        return None

    def features(self, index: int) -> tuple[Feature, ...]:
        """Its features, if it is column number `index` of a schema."""
        raise NotImplementedError

    def read(self, value: Any) -> Any:
        """The typed value of a cell as JSON or Python holds it, None aside. Raises ValueError, with the remedy."""
        raise NotImplementedError

    def read_all(self, cells: Sequence[Any]) -> Array | None:
        """The typed values of cells that all are of the usual types; None if they are to be read one by one."""
        return None

    def from_array(self, values: Array) -> Array | None:
        """The typed values of a NumPy array whose dtype is the column's own; None for any other dtype."""
        return None

    def split(self, array: Array) -> Array:
        """The values, (n, ...), in an array of any shape, for a column whose values are arrays. Raises KilterError."""
        raise NotImplementedError

    def problems(self, values: Array) -> Iterable[Problem]:
        """What is wrong with typed values, (n,), that came as an array or a typed frame."""
        return ()

    def holds(self, dtype: "pl.DataType") -> bool:
        """Whether cells of a polars type are values of the column as they are; all others are read as texts."""
        return False

    def from_series(self, cells: "pl.Series") -> Array:
        """The typed values of cells whose type the column `holds`."""
        raise NotImplementedError

    def from_texts(self, cells: "TextCells", problems: list[Problem]) -> Array:
        """The typed values of the cells of a text table; what cannot be read is a problem, and missing."""
        raise NotImplementedError

    def encode(self, values: Array) -> Array:
        """The features, (n, features), of typed values, (n,); NaN where missing."""
        raise NotImplementedError

    def shown(self, value: Any) -> Value:
        """A typed value as a reason tells what was observed."""
        raise NotImplementedError

    def expected(self, features: Floats) -> Value:
        """What the network expects, by its features, (features,), as a reason tells it."""
        raise NotImplementedError

    def to_series(self, values: Array) -> "pl.Series | None":
        """Typed values as a file with types stores them; None if their texts are to stay."""
        return None

    def describe(self) -> str:
        """The range or the levels of the fitting rows, in a few words."""
        raise NotImplementedError

    def json_schema(self) -> dict[str, Any]:
        """What a cell in JSON must be, as JSON Schema."""
        raise NotImplementedError

    @property
    def json_type(self) -> Any:
        """What a cell in JSON is, as msgspec decodes it; what it does not take is read by `read`."""
        return str | None

    @property
    def datatype(self) -> str:
        """The datatype of the Open Inference Protocol that suits it: BYTES, BOOL, or one of numbers."""
        return "BYTES"

    def differs(self, other: "Column") -> str | None:
        """How its cells are read otherwise than those of another column of the same kind; None if they are not."""
        return None

    def group_name(self, value: Any) -> str | None:
        """The name of the group of records with a typed value; None for a missing one."""
        raise NotImplementedError

    def group_value(self, name: str) -> Any:
        """The typed value that a group's name stands for. Raises ValueError if there is no such value."""
        raise NotImplementedError

    @classmethod
    def infer(cls, cells: "TrainingCells") -> "Decision | None":
        """What a column of the training files is if it is of this kind, or why it is of no use; None to ask others."""
        raise NotImplementedError

    def fit(self, values: Array) -> Self:
        """The column with the statistics of the fitting rows' typed values, (n,)."""
        raise NotImplementedError

    def usual(self, rng: np.random.Generator) -> Any:
        """A made-up cell that is usual, as JSON holds it."""
        raise NotImplementedError

    def central(self) -> Any:
        """The cell in the middle of what is usual, if there is a middle; None otherwise."""
        return None

    def odd(self, rng: np.random.Generator) -> Any:
        """A made-up cell that training never saw, as JSON holds it."""
        return None


def describe_value(value: Any) -> str:
    """A value as an error message names it: its type, and the value itself where that is short."""
    names = {str: "the text", bool: "the boolean", int: "the number", float: "the number"}
    if type(value) not in names:
        return {dict: "an object", list: "a list", type(None): "null"}.get(type(value), type(value).__name__)
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return f"{names[type(value)]} {text if len(text) <= 40 else text[:37] + '...'}"


def quote(text: str) -> str:
    """A text of a file as an error message names it."""
    return f"the text {text if len(text) <= 40 else text[:37] + '...'!r}"


def list_names(names: Sequence[str], most: int = 4, longest: int = 20) -> str:
    """The first of some names, and how many more there are."""
    shown = ", ".join(name if len(name) <= longest else name[: longest - 1] + "…" for name in names[:most])
    return shown + (f" and {len(names) - most:,} more" if len(names) > most else "")


def read_each(
    column: Column,
    rows: Iterable[int],
    texts: Iterable[str | None],
    missing: Iterable[str],
    read: Callable[[str], Any],
    values: Array,
    problems: list[Problem],
) -> None:
    """Read the stripped texts of some rows into `values`, each distinct one once; what `read` refuses is a problem.

    Empty texts, and those in `missing`, leave `values` as they are.
    """
    values_of: dict[str | None, Any] = dict.fromkeys([None, "", *missing])
    for row, text in zip(rows, texts, strict=True):
        if text not in values_of:
            try:
                values_of[text] = read(text)  # type: ignore[arg-type]  # None is there from the start
            except ValueError as error:
                values_of[text] = error
        value = values_of[text]
        if isinstance(value, ValueError):
            problems.append(Problem(row, column.name, str(value)))
        elif value is not None:
            values[row] = value


def missing_values(column: Column, rows: int) -> Array:
    """So many missing values of a column."""
    values = np.empty((rows, *column.value_shape), column.dtype)
    values[...] = column.absent  # `numpy.full` takes as long as a verdict on a record
    return values


def read_cells(
    column: Column, cells: Sequence[Any], problems: list[Problem], read: Callable[[Any], Any] | None = None
) -> Array:
    """The typed values of cells as JSON or Python holds them.

    A cell that `read` (by default the column's own way) refuses is a problem, and missing in the column.
    """
    values = column.read_all(cells) if read is None else None
    if values is not None:
        return values
    reader = read or column.read
    values = missing_values(column, len(cells))
    for row, cell in enumerate(cells):
        if cell is ABSENT or (not column.required and type(cell) not in _NEVER_MISSING and is_missing(cell)):
            continue
        try:
            values[row] = reader(cell)
        except (ValueError, OverflowError, PictureError) as error:
            problems.append(Problem(row, column.name, str(error)))
    return values


_NEVER_MISSING = frozenset({str, bool, int})


def is_missing(cell: Any) -> bool:
    """Whether a cell is None, NaN, NaT or pandas' NA."""
    if isinstance(cell, float | np.floating):
        return bool(cell != cell)
    return (
        cell is None
        or type(cell).__name__ in ("NAType", "NaTType")
        or (isinstance(cell, np.datetime64) and bool(np.isnat(cell)))
    )
