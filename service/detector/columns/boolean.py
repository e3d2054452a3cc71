"""Columns of flags."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import numpy as np

from kilter.service.detector.arrays import Array, Floats
from kilter.service.detector.columns.base import (
    FLOAT32_MAX,
    NUMBERS,
    TRUTHS,
    UNKNOWN,
    Column,
    Feature,
    beyond_range,
    describe_value,
    finite_number,
    list_names,
)
from kilter.service.detector.columns.cells import Decimal, Decision, TrainingCells, parse_number
from kilter.service.detector.errors import Problem

if TYPE_CHECKING:
    import polars as pl

FEW_ONES = 10
FEW_SHARE = 0.01  # a column of 0 with fewer ones than either may be a count that has not yet shown a 2, and is numeric
PAIRS = (("true", "false"), ("yes", "no"), ("t", "f"), ("y", "n"), ("on", "off"))
CERTAIN = {"true", "false", "yes", "no"}  # words that make a flag even where they are a column's only value
WORDS = {"1": 1.0, "0": 0.0} | {word: 1.0 - i for pair in PAIRS for i, word in enumerate(pair)}
"""Texts that every column of flags takes, after its own words."""
FLAGS = frozenset({0.0, 1.0})
FEW = 16  # records, from which on NumPy is faster than Python
POINTED = {"1.0": "1", "0.0": "0"}  # as some tools write a column in which a cell is empty, whatever its decimal sign
NAMES = {value: name for name, value in TRUTHS.items()}
UNSEEN = 2.0  # the code of a number that is no flag, as that of a level which training never saw follows its levels


class BooleanColumn(Column, msgspec.Struct, frozen=True, tag="boolean", tag_field="kind"):
    """A flag; `true` and `false` are the texts by which files spell it, in lower case.

    Another number than 0 and 1 is a value that training never saw. It is encoded as what is as unlikely in every
    program: as a missing one where no fitting row lacked a value, 1 / (n + 2) by the rule of succession, and as
    `UNSEEN` where some did, since there a missing value is nothing new.
    """

    name: str
    true: tuple[str, ...]
    false: tuple[str, ...]
    missing: int = 0

    dtype = np.dtype(np.float64)
    absent = np.nan
    is_number = True
    takes_texts = True
    json_type = bool | Annotated[int, msgspec.Meta(ge=0, le=1)] | None
    datatype = "BOOL"

    @property
    def extremes(self) -> tuple[float, float]:
        return 0.0, 1.0

    def features(self, index: int) -> tuple[Feature, ...]:
        return (Feature(index, "flag"),)

    def read(self, value: Any) -> float:
        if isinstance(value, str):
            return self.read_text(value.strip(), ".")
        if isinstance(value, NUMBERS | np.bool_):
            return finite_number(value)
        raise ValueError(f"true or false is expected, not {describe_value(value)}; use null if it is unknown")

    def from_array(self, values: Array) -> Array | None:
        return values.astype(np.float64) if values.dtype.kind in "fiub" else None

    def problems(self, values: Array) -> Iterable[Problem]:
        return beyond_range(self, values)

    def holds(self, dtype: "pl.DataType") -> bool:
        return dtype.is_integer() or dtype.is_float() or str(dtype) == "Boolean"

    def read_text(self, text: str, decimal: Decimal) -> float:
        flags = WORDS | dict.fromkeys(self.true, 1.0) | dict.fromkeys(self.false, 0.0)
        word = text.lower()
        if (flag := flags.get(POINTED.get(word, word))) is not None:
            return flag
        try:
            number = finite_number(parse_number(text, decimal))
        except ValueError:
            words = ", ".join(map(repr, self.true + self.false))
            raise ValueError(f"one of {words} is expected, not {describe_value(text)}; {UNKNOWN}") from None
        return flags[str(int(number))] if number in FLAGS else number

    def encode(self, values: Array) -> Array:
        if _are_all_known(values):
            return values[:, None]
        known = np.isnan(values) | (values == 0) | (values == 1)
        return np.where(known, values, UNSEEN if self.missing else np.nan)[:, None]

    def decode(self, features: Floats) -> Floats:
        flags = features[:, 0]
        return np.where(np.isnan(flags), np.nan, flags >= 0.5)

    def replacements(self, value: Any, features: Floats) -> list[Any]:
        return [flag for flag in (0.0, 1.0) if flag != value]

    def text(self, value: Any) -> str | None:
        words = {1.0: self.true, 0.0: self.false}.get(float(value))
        return words[0] if words else super().text(value)

    def shown(self, value: Any) -> bool | float | None:
        return None if np.isnan(value) else bool(value) if value in FLAGS else float(value)

    def expected(self, features: Floats) -> bool:
        return bool(features[0] >= 0.5)

    @property
    def narrow(self) -> "pl.DataType":
        import polars as pl

        return pl.Boolean()

    def describe(self) -> str:
        return f"{list_names(self.true)} or {list_names(self.false)}"

    def json_schema(self) -> dict[str, Any]:
        words = "a flag: true or 1, false or 0; any other number is a value that no fitting row has"
        return {
            "type": ["boolean", "number", "null"],
            "minimum": -FLOAT32_MAX,
            "maximum": FLOAT32_MAX,
            "description": words,
        }

    def group_name(self, value: Any) -> str | None:
        return None if np.isnan(value) else NAMES.get(value, f"{value:g}")

    def group_value(self, name: str) -> float:
        return TRUTHS[name] if name in TRUTHS else float(name)

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


def _are_all_known(values: Array) -> bool:
    """Whether flags, (n,), are certainly 0, 1 or missing; of many, missing ones leave it open."""
    if len(values) > FEW:
        return bool((values == (values > 0.5)).all())
    cells = values.tolist()  # of one record in a tenth of the time that NumPy takes
    return FLAGS.issuperset(cells) or all(cell in FLAGS or cell != cell for cell in cells)


def _decision(cells: TrainingCells, true: tuple[str, ...], false: tuple[str, ...], *, varies: bool) -> Decision:
    words = "/".join(map(repr, true)) + " and " + "/".join(map(repr, false))
    what = f"all {cells.count:,} values are {words}" if varies else "a flag that never changes"
    return Decision(BooleanColumn(cells.name, true, false), cells.with_missing(what), varies)
