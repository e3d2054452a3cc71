"""What a table looks like: its columns, how their cells are read, and the float32 features that they become.

A *column* is what the user has; a *feature* is one float32 input of the network. A numeric, boolean or categorical
column is one feature, a timestamp is one per calendar field, an image is one of as many floats as it has pixels.
Everything here is plain data, stored in the manifest.
"""

from typing import Literal, NamedTuple

import msgspec

FeatureKind = Literal["gaussian", "flag", "level", "pixels"]
CalendarField = Literal["hour", "weekday", "day", "month"]

CALENDAR_SIZES: dict[CalendarField, int] = {"hour": 24, "weekday": 7, "day": 31, "month": 12}
"""Number of levels of each calendar field; codes run from 0."""


class Feature(NamedTuple):
    """One float32 input of the network, or the many of an image; NaN where the column's value is missing.

    `gaussian`: a standardised number. `flag`: 0 or 1. `level`: a code in 0..levels-1, or `levels` for a level that
    training never saw. `pixels`: an image, row by row, its channels side by side, from 0 (black) to 1.
    """

    column: int
    """Index of the column in `Schema.columns`."""
    kind: FeatureKind
    levels: int = 0
    size: int = 1
    """Number of floats."""


class NumericColumn(msgspec.Struct, frozen=True, tag="numeric", tag_field="kind"):
    """A number, standardised as (t(value) - center) / scale in float64.

    A column that is constant in the fitting rows has `constant` set, and becomes a flag: 0 when equal, 1 when changed.
    """

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
    integer: bool = False
    missing: int = 0
    """Number of fitting rows in which the value was missing."""

    def features(self, index: int) -> tuple[Feature, ...]:
        return (Feature(index, "gaussian" if self.constant is None else "flag"),)


class BooleanColumn(msgspec.Struct, frozen=True, tag="boolean", tag_field="kind"):
    """A flag; `true` and `false` are the texts by which files spell it, compared in lower case."""

    name: str
    true: tuple[str, ...]
    false: tuple[str, ...]
    missing: int = 0

    def features(self, index: int) -> tuple[Feature, ...]:
        return (Feature(index, "flag"),)


class CategoricalColumn(msgspec.Struct, frozen=True, tag="categorical", tag_field="kind"):
    """One of the `levels` that the fitting rows held, most frequent first; anything else is unseen."""

    name: str
    levels: tuple[str, ...]
    counts: tuple[int, ...]
    missing: int = 0

    def features(self, index: int) -> tuple[Feature, ...]:
        return (Feature(index, "level", len(self.levels)),)


class TimestampColumn(msgspec.Struct, frozen=True, tag="timestamp", tag_field="kind"):
    """A point in time, scored by its calendar fields and never by absolute time.

    `format` is how text is read: `iso` (ISO 8601), `unix_s`, `unix_ms`, or a strptime format. A time with an offset is
    converted to UTC; one without is taken as it stands.
    """

    name: str
    format: str
    fields: tuple[CalendarField, ...]
    missing: int = 0

    def features(self, index: int) -> tuple[Feature, ...]:
        return tuple(Feature(index, "level", CALENDAR_SIZES[field]) for field in self.fields)


class ImageColumn(msgspec.Struct, frozen=True, tag="image", tag_field="kind"):
    """A picture, brought to one size and number of channels before the network sees it.

    An image file's own values are 8 or 16 bits deep and need no more than that; numbers of an array are taken so that
    `low` is black and `high` is white. The picture is stretched to the size, whatever its proportions.
    """

    name: str
    height: int
    width: int
    channels: Literal[1, 3]
    """1: grey, 3: red, green, blue."""
    low: float = 0.0
    high: float = 255.0
    missing: int = 0

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels)."""
        return self.height, self.width, self.channels

    def features(self, index: int) -> tuple[Feature, ...]:
        return (Feature(index, "pixels", size=self.height * self.width * self.channels),)


Column = NumericColumn | BooleanColumn | CategoricalColumn | TimestampColumn | ImageColumn


class LeftOut(msgspec.Struct, frozen=True):
    """A column of the training file that the model does not look at, and why."""

    name: str
    reason: str


class Schema(msgspec.Struct, frozen=True):
    """The columns that the network sees, in order, what else a record must have, and how text is read."""

    columns: tuple[Column, ...]
    rows: int
    """Number of fitting rows, from which every count and statistic here comes."""
    left_out: tuple[LeftOut, ...] = ()
    aside: tuple[Column, ...] = ()
    """Columns that records have besides, and that the network does not see: one by which they are grouped."""
    null_tokens: tuple[str, ...] = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "None", "n/a", "NaT", "-nan", "#N/A")
    """Texts that mean a missing value, compared after stripping blanks."""
    decimal: Literal[".", ","] = "."

    @property
    def fields(self) -> tuple[Column, ...]:
        """All columns that a record must have, those that the network sees first."""
        return self.columns + self.aside

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all columns that a record must have."""
        return tuple(column.name for column in self.fields)

    @property
    def image(self) -> ImageColumn | None:
        """The picture that a record is, which then has no other column; None for a table."""
        first = self.columns[0] if self.columns else None
        return first if isinstance(first, ImageColumn) else None

    @property
    def width(self) -> int:
        """Number of floats of an encoded record."""
        return sum(feature.size for feature in self.features())

    def features(self) -> tuple[Feature, ...]:
        """The network's inputs, in the order of the columns of the encoded matrix."""
        return tuple(feature for i, column in enumerate(self.columns) for feature in column.features(i))
