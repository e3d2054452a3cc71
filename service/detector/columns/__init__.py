"""The kinds of column: a module each, and an entry in `KINDS`."""

from collections.abc import Iterator
from typing import Any

import msgspec

from kilter.service.detector.columns.base import Column, Feature
from kilter.service.detector.columns.boolean import BooleanColumn
from kilter.service.detector.columns.categorical import CategoricalColumn
from kilter.service.detector.columns.numeric import NumericColumn
from kilter.service.detector.columns.time_of_day import ClockColumn
from kilter.service.detector.columns.timestamp import TimestampColumn
from kilter.service.detector.plugin import imported

__all__ = [
    "KINDS",
    "BooleanColumn",
    "CategoricalColumn",
    "ClockColumn",
    "Column",
    "Feature",
    "NumericColumn",
    "TimestampColumn",
    "decode_column",
    "kinds",
]

KINDS: list[str | type[Column]] = [
    BooleanColumn,
    TimestampColumn,
    ClockColumn,
    NumericColumn,
    CategoricalColumn,
    "kilter.service.detector.pictures.column:ImageColumn",
]
"""In the order in which training asks them what a column is: the first that knows decides. See `detector.plugin`."""


def kinds() -> Iterator[type[Column]]:
    """The classes of `KINDS`, each imported when it is reached."""
    return map(imported, KINDS)


def decode_column(wanted: type, value: Any) -> Any:
    """A column from a manifest, as msgspec's `dec_hook`. Raises msgspec.ValidationError if there is no such kind."""
    if wanted is not Column:
        raise NotImplementedError(f"{wanted} is read by msgspec itself")
    tag = value.get("kind") if isinstance(value, dict) else None
    for kind in kinds():
        if kind.__struct_config__.tag == tag:  # type: ignore[attr-defined]
            return msgspec.convert(value, kind)
    raise msgspec.ValidationError(f"there is no kind of column {tag!r}")
