"""What a record looks like: its columns, how their cells are read, and the features that they become."""

from typing import Literal

import msgspec

from kilter.service.detector.columns import Column, Feature
from kilter.service.detector.names import name_form


class LeftOut(msgspec.Struct, frozen=True):
    """A column of the training file that the model does not look at."""

    name: str
    reason: str


class Schema(msgspec.Struct, frozen=True):
    """The columns that the network sees, in order, the other fields of a record, and how text is read."""

    columns: tuple[Column, ...]
    rows: int
    """Number of fitting rows, from which every count and statistic here comes."""
    left_out: tuple[LeftOut, ...] = ()
    aside: tuple[Column, ...] = ()
    """Further columns of a record, which the network does not see: one by which records are grouped."""
    null_tokens: tuple[str, ...] = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "None", "n/a", "NaT", "-nan", "#N/A")
    """Texts that mean a missing value, compared after stripping blanks."""
    decimal: Literal[".", ","] = "."

    @property
    def fields(self) -> tuple[Column, ...]:
        """All columns that a record must have, those that the network sees first."""
        return self.columns + self.aside

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.fields)

    def field(self, name: str) -> Column | None:
        """The field of that name; None if there is none."""
        wanted = name_form(name)
        return next((column for column in self.fields if name_form(column.name) == wanted), None)

    @property
    def ignored(self) -> frozenset[str]:
        """The names of columns that a record may have, and that the model does not look at."""
        return frozenset(column.name for column in self.left_out)

    @property
    def time(self) -> Column | None:
        """The first column of times; None if there is none."""
        return next((column for column in self.columns if column.is_time), None)

    @property
    def width(self) -> int:
        """Number of floats of an encoded record."""
        return sum(feature.size for feature in self.features())

    def features(self) -> tuple[Feature, ...]:
        """The network's inputs, in the order of the columns of the encoded matrix."""
        return tuple(feature for i, column in enumerate(self.columns) for feature in column.features(i))
