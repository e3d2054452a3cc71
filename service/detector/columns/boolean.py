"""Columns of flags."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import numpy as np

from kilter.service.detector.arrays import Array, Floats
from kilter.service.detector.columns.base import UNKNOWN, Column, Feature, describe_value, list_names
from kilter.service.detector.columns.cells import Decimal, Decision, TrainingCells
from kilter.service.detector.errors import Problem

if TYPE_CHECKING:
    import polars as pl

FEW_ONES = 10
FEW_SHARE = 0.01  # a column of 0 with fewer ones than either may be a count that has not yet shown a 2, and is numeric
PAIRS = (("true", "false"), ("yes", "no"), ("t", "f"), ("y", "n"), ("on", "off"))
CERTAIN = {"true", "false", "yes", "no"}  # words that make a flag even where they are a column's only value
WORDS = {"true": 1.0, "false": 0.0, "1": 1.0, "0": 0.0}  # texts that every column of flags takes, after its own words


class BooleanColumn(Column, msgspec.Struct, frozen=True, tag="boolean", tag_field="kind"):
    """A flag; `true` and `false` are the texts by which files spell it, in lower case."""

    name: str
    true: tuple[str, ...]
    false: tuple[str, ...]
    missing: int = 0

    dtype = np.dtype(np.float64)
    absent = np.nan
    is_number = True
    json_type = bool | Annotated[int, msgspec.Meta(ge=0, le=1)] | None
    datatype = "BOOL"

    def features(self, index: int) -> tuple[Feature, ...]:
        return (Feature(index, "flag"),)

    def read(self, value: Any) -> float:
        if isinstance(value, bool | np.bool_) or (isinstance(value, int | float) and value in (0, 1)):
            return float(value)
        raise ValueError(f"true or false is expected, not {describe_value(value)}")

    def from_array(self, values: Array) -> Array | None:
        return values.astype(np.float64) if values.dtype.kind in "fiub" else None

    def problems(self, values: Array) -> Iterable[Problem]:
        bad = np.flatnonzero(~np.isnan(values) & (values != 0) & (values != 1))
        return [Problem(int(row), self.name, f"a flag is 0 or 1, not {values[row]:g}") for row in bad]

    def holds(self, dtype: "pl.DataType") -> bool:
        return dtype.is_integer() or dtype.is_float() or str(dtype) == "Boolean"

    def read_text(self, text: str, decimal: Decimal) -> float:
        flags = WORDS | dict.fromkeys(self.true, 1.0) | dict.fromkeys(self.false, 0.0)
        if text.lower() not in flags:
            words = ", ".join(map(repr, self.true + self.false))
            raise ValueError(f"one of {words} is expected, not {describe_value(text)}; {UNKNOWN}")
        return flags[text.lower()]

    def encode(self, values: Array) -> Array:
        return values[:, None]

    def shown(self, value: Any) -> bool | None:
        return None if np.isnan(value) else bool(value)

    def expected(self, features: Floats) -> bool:
        return bool(features[0] >= 0.5)

    def to_series(self, values: Array) -> "pl.Series":
        import polars as pl

        return pl.Series(self.name, values, nan_to_null=True).cast(pl.Boolean)

    def describe(self) -> str:
        return f"{list_names(self.true)} or {list_names(self.false)}"

    def json_schema(self) -> dict[str, Any]:
        return {"enum": [True, False, None, 0, 1], "description": "a flag"}

    def group_name(self, value: Any) -> str | None:
        return None if np.isnan(value) else str(value == 1).lower()

    def group_value(self, name: str) -> float:
        return 1.0 if name == "true" else 0.0

    @classmethod
    def infer(cls, cells: TrainingCells) -> Decision | None:
        if cells.are_numbers:
            values = cells.values
            few = values.sum() < min(FEW_ONES, FEW_SHARE * len(values))
            if few or len(values) < cells.count or set(np.unique(values).tolist()) != {0.0, 1.0}:
                return None
            return _decision(cells, cells.spelled(1.0), cells.spelled(0.0), varies=True)
        if cells.texts is None:
            if str(cells.cells.dtype) != "Boolean":
                return None
            return _decision(cells, ("true",), ("false",), varies=cells.cells.drop_nulls().n_unique() > 1)
        texts = cells.distinct_texts
        words = {text.lower() for text in texts.to_list()} if len(texts) <= 3 else set()
        for true, false in PAIRS:
            if words == {true, false} or (len(words) == 1 and words <= {true, false} & CERTAIN):
                return _decision(cells, (true,), (false,), varies=len(words) > 1)
        return None

    def usual(self, rng: "np.random.Generator") -> bool:
        return bool(rng.integers(2))


def _decision(cells: TrainingCells, true: tuple[str, ...], false: tuple[str, ...], *, varies: bool) -> Decision:
    words = "/".join(map(repr, true)) + " and " + "/".join(map(repr, false))
    what = f"all {cells.count:,} values are {words}" if varies else "a flag that never changes"
    return Decision(BooleanColumn(cells.name, true, false), cells.with_missing(what), varies)
