"""The interface of a kind of column: how its cells are read, encoded, restored, explained and described.

A *column* is what the user has; a *feature* is one float32 input of the network. A kind of column is a frozen struct
that subclasses `Column`, in one module, and an entry in the list `KINDS` of this package. Nothing else asks which kind
a column is.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Self

import msgspec
import numpy as np

from kilter.service.detector.arrays import Array, Floats
from kilter.service.detector.errors import PictureError, Problem

if TYPE_CHECKING:
    import polars as pl

    from kilter.service.detector.columns.cells import Decimal, Decision, TextCells, TrainingCells

Value = float | int | str | bool | None
"""A cell as JSON holds it."""
NUMBERS = int | float | np.integer | np.floating
TRUTHS = {"true": 1.0, "false": 0.0}  # how flags are spelled by JSON, and their values
FLOAT32_MAX = float(np.finfo(np.float32).max)
LIMIT = 1e3
"""Standardised numbers are held within ± this many units: beyond, a float32 could no longer tell neighbours apart, and
a record's verdict would depend on its batch."""
UNKNOWN = "leave the cell empty if it is unknown"
ABSENT = object()  # the cell of a field that a record lacks, which is the record's problem and not the cell's
NEVER_MISSING = frozenset({str, bool, int})
Read = Callable[["Column", Any], Any]
"""Reads a cell of a column in another way than the column's own. Raises ValueError or PictureError."""


class Feature(NamedTuple):
    """One float32 input of the network, or the many of a picture; NaN where the column's value is missing.

    `gaussian`: a standardised number. `flag`: 0 or 1, or 2 for another number. `level`: a code in 0..levels-1, or
    `levels` for a level that training never saw. `pixels`: a picture, row by row, its channels side by side, from 0
    (black) to 1.
    """

    column: int
    """Index of the column in `Schema.columns`."""
    kind: Literal["gaussian", "flag", "level", "pixels"]
    levels: int = 0
    size: int = 1
    """Number of floats."""


class Column:
    """One column of a record. Kinds of column are frozen structs with a tag."""

    name: str
    missing: int
    """Number of fitting rows in which the value was missing."""
    counts: tuple[int, ...] | None = None
    """Number of fitting rows that have each level; None for a column without levels."""
    integer: bool = False
    """Whether the fitting rows hold whole numbers alone, which a file with types stores as such."""

    modality: ClassVar[str] = "table"
    """The modality of a schema that begins with such a column."""
    dtype: ClassVar[np.dtype[Any]]
    absent: ClassVar[Any]
    """The typed value that stands for a missing one."""
    is_number: ClassVar[bool] = False
    """Whether a typed value is a float64, NaN where missing, that can stand in a matrix."""
    is_time: ClassVar[bool] = False
    """Whether a typed value is a datetime64, so that traffic never has the values of the fitting rows."""
    can_group: ClassVar[bool] = True
    """Whether records can be grouped by it, with a threshold for each group."""
    required: ClassVar[bool] = False
    """Whether a missing value is a problem."""
    written_as_number: bool = False
    """Whether its texts are plain numbers, so that they are parsed for many columns at once."""
    takes_texts: bool = False
    """Whether a cell that is a number may also come as the text that a file would hold."""
    value_axes: ClassVar[tuple[str, ...]] = ()
    """The names of the axes of a typed value that is an array."""

    @property
    def kind(self) -> str:
        """The tag of its kind in a manifest, and the kind's name in reports."""
        return str(type(self).__struct_config__.tag)  # type: ignore[attr-defined]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of a typed value; () if that is no array."""
        return ()

    @property
    def narrow(self) -> "pl.DataType | None":
        """The type as which a file with types stores the column's numbers if all of them fit; None for float64."""
        import polars as pl

        return pl.Int64() if self.integer else None

    @property
    def extremes(self) -> tuple[float, float] | None:
        """The smallest and the largest number of the fitting rows; None for a column that is not one of numbers."""
        return None

    @property
    def affine(self) -> tuple[float, float] | None:
        """The center and scale of a column whose only feature is (value - center) / scale; None for any other."""
        return None

    def features(self, index: int) -> tuple[Feature, ...]:
        """Its features, if it is column number `index` of a schema."""
        raise NotImplementedError

    def value_name(self, place: int) -> str:
        """The name of the value at a place of a feature: that of the column, if it is no array."""
        return self.name

    def read(self, value: Any) -> Any:
        """The typed value of a cell from JSON or Python that is not None. Raises ValueError, with the remedy."""
        raise NotImplementedError

    def read_text(self, text: str, decimal: "Decimal") -> Any:
        """The typed value of a stripped text of a file. Raises ValueError, with the remedy."""
        return self.read(text)

    def read_all(self, cells: Sequence[Any]) -> Array | None:
        """The typed values of cells that all have the usual types; None if they are to be read one by one."""
        return None

    def from_array(self, values: Array) -> Array | None:
        """The typed values of a NumPy array whose dtype suits the column; None for any other dtype."""
        return None

    def split(self, array: Array) -> Array:
        """The values, (n, ...), in an array of any shape, for a column whose values are arrays. Raises KilterError."""
        raise NotImplementedError

    def problems(self, values: Array) -> Iterable[Problem]:
        """The problems of typed values, (n,), that came as an array or a typed frame."""
        return ()

    def holds(self, dtype: "pl.DataType") -> bool:
        """Whether cells of a polars type are values of the column as they are; all others are read as texts."""
        return False

    def from_series(self, cells: "pl.Series") -> Array:
        """The typed values of cells whose type the column `holds`; here float64, NaN where null."""
        import polars as pl

        return cells.cast(pl.Float64).to_numpy()

    def from_texts(self, cells: "TextCells", problems: list[Problem]) -> Array:
        """The typed values of a text table's cells, each distinct text read once; one that is refused is a problem."""
        texts: Iterable[tuple[int, str | None]] = ()
        if cells.numbers is None:
            values = missing_values(self, len(cells.stripped))
            texts = enumerate(cells.stripped.to_list())
        else:
            values = cells.numbers.to_numpy(writable=True)
            if len(rows := np.flatnonzero(np.isnan(values))):
                texts = zip(rows.tolist(), cells.stripped.gather(rows).to_list(), strict=True)
        values_of: dict[str | None, Any] = dict.fromkeys([None, "", *cells.missing])
        for row, text in texts:
            if text not in values_of:
                try:
                    values_of[text] = self.read_text(text, cells.decimal)  # type: ignore[arg-type]  # None is a key
                except ValueError as error:
                    values_of[text] = error
            value = values_of[text]
            if isinstance(value, ValueError):
                problems.append(Problem(row, self.name, str(value)))
            elif value is not None:
                values[row] = value
        problems.extend(self.problems(values))
        return values

    def encode(self, values: Array) -> Array:
        """The features, (n, features), of typed values, (n,); NaN where missing."""
        raise NotImplementedError

    def decode(self, features: Floats) -> Array:
        """The typed values, (n,), whose features, (n, features), are like these, missing where one is NaN.

        The inverse of `encode`, within what the fitting rows hold.
        """
        raise NotImplementedError

    def stand_ins(self, value: Any, features: Floats) -> Array:
        """Typed values, (n,), that may stand in the place of one where features, (n, features), are expected.

        None is missing, and all lie within what the fitting rows hold.
        """
        return self.decode(features)

    def replacements(self, value: Any, features: Floats) -> list[Any]:
        """Typed values that are worth trying in the place of one where features, (features,), are expected."""
        return list(self.stand_ins(value, features[None]))

    def way(self, value: Any, target: Any) -> list[Any]:
        """Typed values between one and a stand-in for it, the nearest to the one first."""
        return []

    def cell(self, value: Any) -> Value:
        """A typed value as a record of JSON has it: the inverse of `read`."""
        return self.shown(value)

    def text(self, value: Any) -> str | None:
        """A typed value as a text of a file has it: the inverse of `read_text` with a point as the decimal sign."""
        cell = self.cell(value)
        return cell if cell is None or isinstance(cell, str) else repr(cell)

    def shown(self, value: Any) -> Value:
        """A typed value as a reason names what was observed."""
        raise NotImplementedError

    def expected(self, features: Floats) -> Value:
        """The value that the network expects, from its features, (features,), as a reason names it."""
        raise NotImplementedError

    def restore(self, feature: float) -> float:
        """The number whose feature is `feature`: the inverse of `encode`, for a column of numbers."""
        raise NotImplementedError

    def to_series(self, values: Array) -> "pl.Series | None":
        """Typed values as a file with types stores them; None if the file's texts are to stay."""
        if not self.is_number and not self.is_time:
            return None
        import polars as pl

        return pl.Series(self.name, values, nan_to_null=True)

    def describe(self) -> str:
        """The range or the levels of the fitting rows, in a few words."""
        raise NotImplementedError

    def json_schema(self) -> dict[str, Any]:
        """The JSON Schema of a cell."""
        raise NotImplementedError

    @property
    def json_type(self) -> Any:
        """The type by which msgspec decodes a cell of JSON; `read` reads a cell that it refuses."""
        return str | None

    @property
    def datatype(self) -> str:
        """The datatype of the Open Inference Protocol that suits it: BYTES, BOOL, or one of numbers."""
        return "BYTES"

    def differs(self, other: "Column") -> str | None:
        """How its cells are read differently from those of another column of its kind; None if they are not."""
        return None

    def group_name(self, value: Any) -> str | None:
        """The name of the group of records with a typed value; None for a missing one."""
        raise NotImplementedError

    def group_value(self, name: str) -> Any:
        """The typed value of the group of that name. Raises ValueError if there is no such value."""
        raise NotImplementedError

    @classmethod
    def infer(cls, cells: "TrainingCells") -> "Decision | None":
        """The column if the cells are of this kind, or why they are of no use; None leaves them to other kinds."""
        return None

    def fit(self, values: Array) -> Self:
        """The column with the statistics of the fitting rows' typed values, (n,); here the number of missing ones."""
        return msgspec.structs.replace(self, missing=int(np.isnan(values).sum()))  # type: ignore[type-var]

    def usual(self, rng: "np.random.Generator") -> Any:
        """A synthetic cell with a usual value, as JSON holds it."""
        raise NotImplementedError

    def central(self) -> Any:
        """The cell in the middle of the usual values; None if they have no middle."""
        return None

    def odd(self, rng: "np.random.Generator") -> Any:
        """A synthetic cell with a value that training never saw, as JSON holds it."""
        return None


def finite_number(value: float | np.number[Any] | np.bool_) -> float:
    """A number as float64. Raises ValueError, with the remedy, if it is beyond what a float32 can hold."""
    try:
        number = float(value)
    except OverflowError:
        number = np.inf
    if abs(number) > FLOAT32_MAX:
        raise ValueError(_out_of_range(number))
    return number


def beyond_range(column: Column, values: Array) -> list[Problem]:
    """The problems of float64 values, (n,), that are beyond what a float32 can hold."""
    with np.errstate(invalid="ignore"):
        bad = np.flatnonzero(np.abs(values) > FLOAT32_MAX)
    return [Problem(int(row), column.name, _out_of_range(float(values[row]))) for row in bad]


def _out_of_range(value: float) -> str:
    what = "infinite" if np.isinf(value) else f"{value:g}"
    return f"the number is {what}: only finite numbers up to 3.4e38 can be scored; use null for an unknown value"


def describe_value(value: Any) -> str:
    """A value as an error message names it: its type, and the value itself where that is short."""
    names = {str: "the text", bool: "the boolean", int: "the number", float: "the number"}
    if type(value) not in names:
        return {dict: "an object", list: "a list", type(None): "null"}.get(type(value), type(value).__name__)
    text = repr(value).lower() if isinstance(value, bool) else repr(value)
    return f"{names[type(value)]} {text if len(text) <= 40 else text[:37] + '...'}"


def list_names(names: Sequence[str], most: int = 4, longest: int = 20) -> str:
    """The first of some names, and how many more there are."""
    shown = ", ".join(name if len(name) <= longest else name[: longest - 1] + "…" for name in names[:most])
    return shown + (f" and {len(names) - most:,} more" if len(names) > most else "")


def missing_values(column: Column, rows: int) -> Array:
    """The typed values of a column that is missing in all of so many rows."""
    values = np.empty((rows, *column.shape), column.dtype)
    values[...] = column.absent  # `numpy.full` takes as long as a verdict on a record
    return values


def read_cells(column: Column, cells: Sequence[Any], problems: list[Problem], read: Read | None = None) -> Array:
    """The typed values of cells from JSON or Python; one that `read`, or else the column, refuses is a problem."""
    values = column.read_all(cells) if read is None else None
    if values is not None:
        return values
    reader = column.read if read is None else partial(read, column)
    values = missing_values(column, len(cells))
    for row, cell in enumerate(cells):
        if cell is ABSENT or (not column.required and type(cell) not in NEVER_MISSING and is_missing(cell)):
            continue
        try:
            values[row] = reader(cell)
        except (ValueError, OverflowError, PictureError) as error:
            problems.append(Problem(row, column.name, str(error)))
    return values


def is_missing(cell: Any) -> bool:
    """Whether a cell is None, NaN, NaT or pandas' NA."""
    if isinstance(cell, float | np.floating):
        return bool(cell != cell)
    if isinstance(cell, np.datetime64 | np.timedelta64):
        return bool(np.isnat(cell))
    return cell is None or type(cell).__name__ in ("NAType", "NaTType")
