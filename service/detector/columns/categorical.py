"""Columns of categories."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, Self

import msgspec
import numpy as np
import numpy.typing as npt

from kilter.service.detector.arrays import Array, Floats
from kilter.service.detector.columns.base import TRUTHS, Column, Feature, describe_value, list_names
from kilter.service.detector.columns.cells import Decision, TextCells, TrainingCells, option_in_words
from kilter.service.detector.columns.codes import MOST_LEVELS, ROWS_PER_LEVEL, are_few
from kilter.service.detector.errors import Problem

NEARLY_UNIQUE = 0.9
COMMONEST = 8  # levels that are tried in the place of another
OTHER = "any other value"
TEXTS = frozenset({str, type(None)})
FREE_TEXT = 40  # average length from which many distinct texts are prose


WHOLE = re.compile(r"(-?(?:0|[1-9][0-9]*))\.0+")


def plain_spelling(text: str) -> str:
    """What texts that mean the same have in common: `7.0` is 7 and `TRUE` is true, but 007 is a code of its own."""
    if text.endswith("0") and (whole := WHOLE.fullmatch(text)):
        return whole[1]
    return low if len(text) <= 5 and (low := text.lower()) in TRUTHS else text


class CategoricalColumn(Column, msgspec.Struct, frozen=True, tag="categorical", tag_field="kind"):
    """One of the `levels` that the fitting rows held, most frequent first; anything else is unseen.

    A text that is no level is the one that it is another spelling of, if there is one: see `plain_spelling`. Where some
    fitting rows have a level that is too rare to be one of `levels`, all others together are the last level.
    """

    name: str
    levels: tuple[str, ...]
    counts: tuple[int, ...]
    missing: int = 0
    least: int = 1
    """The fewest fitting rows that a level has; those that are rarer count together."""
    rest: int = 0
    """Number of fitting rows with a level that is too rare."""

    dtype = np.dtype(object)
    absent = None

    def features(self, index: int) -> tuple[Feature, ...]:
        return (Feature(index, "level", len(self.levels) + (self.rest > 0)),)

    def read(self, value: Any) -> str:
        if isinstance(value, str):
            return value
        if isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, int | float):
            return str(int(value)) if value == value // 1 else str(value)
        raise ValueError(f"text is expected, not {describe_value(value)}; use null if it is unknown")

    def read_all(self, cells: Sequence[Any]) -> Array | None:
        return _objects(cells) if TEXTS.issuperset(map(type, cells)) else None

    def from_texts(self, cells: TextCells, problems: list[Problem]) -> Array:
        pairs = zip(cells.texts.to_list(), cells.stripped.to_list(), strict=True)
        return _objects([None if stripped in cells.missing else text for text, stripped in pairs])

    def encode(self, values: Array) -> Array:
        codes = {level: code for code, level in enumerate(self.levels)}
        unseen = len(codes)
        coded = [np.nan if value is None else codes.get(value, unseen) for value in values]
        if unseen in coded:
            alike = {plain_spelling(level): code for level, code in reversed(codes.items())}
            coded = [
                alike.get(plain_spelling(value), unseen) if code == unseen else code
                for value, code in zip(values, coded, strict=True)
            ]
        return np.array(coded, np.float64).reshape(-1, 1)

    def decode(self, features: Floats) -> Array:
        known = dict(enumerate(self.levels))
        return _objects([None if code != code else known.get(int(code), OTHER) for code in features[:, 0].tolist()])

    def stand_ins(self, value: Any, features: Floats) -> Array:
        """The commonest level where any other value is expected."""
        return _objects([self.levels[0] if level == OTHER else level for level in self.decode(features)])

    def replacements(self, value: Any, features: Floats) -> list[Any]:
        """What is expected, and the commonest levels."""
        levels = dict.fromkeys([*self.stand_ins(value, features[None]), *self.levels[:COMMONEST]])
        return [level for level in levels if level != value]

    def shown(self, value: Any) -> str | None:
        return None if value is None else str(value)

    def expected(self, features: Floats) -> str:
        code = int(features[0])
        return self.levels[code] if code < len(self.levels) else OTHER

    def describe(self) -> str:
        levels = f"{len(self.levels):,} level{'s' * (len(self.levels) != 1)}: {list_names(self.levels)}"
        return f"{levels}; all others together, in {self.rest:,} rows" if self.rest else levels

    def json_schema(self) -> dict[str, Any]:
        levels = ", ".join(self.levels[:10]) + (", ..." if len(self.levels) > 10 else "")
        kinds = ["string", "number", "boolean", "null"]
        return {"type": kinds, "description": f"levels in the fitting rows: {levels}"}

    def group_name(self, value: Any) -> str | None:
        return None if value is None else plain_spelling(value)

    def group_value(self, name: str) -> str:
        return name

    @classmethod
    def infer(cls, cells: TrainingCells) -> Decision | None:
        if cells.texts is None and cells.code is None:
            return None
        count, levels, numbers = cells.count, len(cells.distinct_levels), len(cells.values)
        in_rows = f"{levels:,} distinct values in {cells.rows:,} rows"
        mixture = f"; {cells.noted}" if isinstance(cells.noted, str) else ""
        if are_few(levels, count) and levels < NEARLY_UNIQUE * count:
            return cls.of_levels(cells, mixture)
        if mixture:
            return Decision(None, f"{in_rows}{mixture}")
        keep = option_in_words("categorical", cells.name)
        if numbers >= 0.5 * count and cells.code is None:
            share = f"{numbers:,} of {count:,} values are numbers"
            return Decision(None, f"{share} and the rest are not ({cells.not_numbers()}): clean them to use it")
        length = cells.distinct_levels.str.len_chars().mean()
        if isinstance(length, float) and length >= FREE_TEXT:
            return Decision(None, f"free text: {in_rows}, {length:.0f} characters on average; {keep}")
        if levels >= NEARLY_UNIQUE * count:
            return Decision(None, f"an identifier: {in_rows}; {keep}")
        commonest = cells.level_texts.value_counts()["count"].max()
        if isinstance(commonest, int) and commonest >= ROWS_PER_LEVEL:
            return cls.of_levels(cells)
        return Decision(None, f"{in_rows}, none of them in {ROWS_PER_LEVEL}: too many for a category; {keep}")

    @classmethod
    def of_levels(cls, cells: TrainingCells, more: str = "") -> Decision:
        """The decision about cells that are levels; if these are many, all with too few rows are one."""
        levels, rows = len(cells.distinct_levels), cells.level_texts.value_counts()["count"]
        why = cells.with_missing(f"{levels:,} distinct {'value' if levels == 1 else 'values'}")
        if cells.code:
            why += f", {cells.code}; {option_in_words('numeric', cells.name)}"
        if are_few(levels, cells.count):
            return Decision(cls(cells.name, (), ()), why + more, varies=levels > 1)
        least = ROWS_PER_LEVEL if (rows >= ROWS_PER_LEVEL).any() else 1
        kept = rows.filter(rows >= least).sort(descending=True).head(MOST_LEVELS)
        share = f"{100 * kept.sum() / cells.count:.3g} %"
        why += f"; the {len(kept):,} commonest, in {share} of the rows, are levels, and all others together are one"
        return Decision(cls(cells.name, (), (), least=least), why + more, varies=levels > 1)

    def fit(self, values: npt.NDArray[np.object_]) -> Self:
        spellings = Counter(value for value in values if value is not None)
        names: dict[str, str] = {}
        counts: Counter[str] = Counter()
        for text, count in sorted(spellings.items(), key=lambda item: (-item[1], item[0])):
            counts[names.setdefault(plain_spelling(text), text)] += count
        ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        commonest = [item for item in ranked[:MOST_LEVELS] if item[1] >= self.least]
        return msgspec.structs.replace(
            self,
            levels=tuple(level for level, _ in commonest),
            counts=tuple(count for _, count in commonest),
            missing=len(values) - counts.total(),
            rest=counts.total() - sum(count for _, count in commonest),
        )

    def usual(self, rng: "np.random.Generator") -> str | None:
        if not self.levels:
            return None
        counts = np.array([*self.counts, *(self.rest,) * (self.rest > 0)], float)
        code = rng.choice(len(counts), p=counts / counts.sum())
        return self.levels[code] if code < len(self.levels) else OTHER

    def odd(self, rng: "np.random.Generator") -> str | None:
        return None if rng.random() < 0.3 else "a level that no training record has"


def _objects(values: Sequence[Any]) -> npt.NDArray[np.object_]:
    objects = np.empty(len(values), object)
    objects[:] = values
    return objects
