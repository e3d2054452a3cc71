"""Columns of times of day, which are cyclic: 23:59 is next to 00:00."""

from collections.abc import Iterable
from datetime import time
from typing import TYPE_CHECKING, Any, Self

import msgspec
import numpy as np

from kilter.service.detector.arrays import Array, Floats
from kilter.service.detector.columns.base import NUMBERS, UNKNOWN, Column, Feature, describe_value
from kilter.service.detector.columns.cells import Decimal, Decision, TrainingCells, typed_seconds
from kilter.service.detector.columns.durations import DAY, clock_seconds, spell_clock
from kilter.service.detector.columns.evidence import Numbers
from kilter.service.detector.columns.notation import LONGEST, USUAL
from kilter.service.detector.errors import Problem

if TYPE_CHECKING:
    import polars as pl

WAY_STEPS = 24  # times that are tried between one and what replaces it
LEAST_SCALE = 2 * np.pi / 24 / 60
"""Times that vary by less than a minute are taken to vary by one."""


class ClockColumn(Column, msgspec.Struct, frozen=True, tag="clock", tag_field="kind"):
    """A time of day in seconds from midnight: its place on a circle of radius 1, moved and scaled as a whole."""

    name: str
    center: tuple[float, float] = (0.0, 0.0)
    scale: float = 1.0
    earliest: float = 0.0
    """Smallest and largest seconds in the fitting rows."""
    latest: float = 0.0
    missing: int = 0

    dtype = np.dtype(np.float64)
    absent = np.nan
    can_group = False

    def features(self, index: int) -> tuple[Feature, ...]:
        return (Feature(index, "gaussian"), Feature(index, "gaussian"))

    def read(self, value: Any) -> float:
        if isinstance(value, str):
            return self.read_text(value.strip(), ".")
        if isinstance(value, time):
            return 3600.0 * value.hour + 60.0 * value.minute + value.second + value.microsecond / 1e6
        if isinstance(value, bool | np.bool_) or not isinstance(value, NUMBERS):
            raise ValueError(f"a time of day like 14:05 is expected, not {describe_value(value)}")
        if not 0 <= value < DAY:
            raise ValueError(_beyond(value))
        return float(value)

    def read_text(self, text: str, decimal: Decimal) -> float:
        if len(text) <= LONGEST and (seconds := clock_seconds(text.translate(USUAL).strip(" '\""))) is not None:
            return seconds
        raise ValueError(f"a time of day like 14:05 is expected, not {describe_value(text)}; {UNKNOWN}")

    def from_array(self, values: Array) -> Array | None:
        return values.astype(np.float64) if values.dtype.kind in "fiu" else None

    def problems(self, values: Array) -> Iterable[Problem]:
        with np.errstate(invalid="ignore"):
            bad = np.flatnonzero((values < 0) | (values >= DAY))
        return [Problem(int(row), self.name, _beyond(values[row])) for row in bad]

    def holds(self, dtype: "pl.DataType") -> bool:
        return str(dtype) == "Time" or dtype.is_integer() or dtype.is_float()

    def from_series(self, cells: "pl.Series") -> Array:
        return typed_seconds(cells) if str(cells.dtype) == "Time" else Column.from_series(self, cells)

    def encode(self, values: Array) -> Array:
        return (_on_circle(values) - self.center) / self.scale

    def decode(self, features: Floats) -> Floats:
        """To the minute."""
        cosine, sine = (features * self.scale + self.center).T
        seconds: Floats = np.round(np.arctan2(sine, cosine) / (2 * np.pi) * 1440) * 60 % DAY
        return seconds

    def way(self, value: Any, target: Any) -> list[Any]:
        """By the minute, the shorter way round."""
        if np.isnan(value):
            return []
        length = (target - value + DAY / 2) % DAY - DAY / 2
        times = np.round((value + np.linspace(0, length, WAY_STEPS + 1)) / 60) * 60 % DAY
        return [time for time in dict.fromkeys(times.tolist()) if time != value]

    def shown(self, value: Any) -> str | None:
        return None if np.isnan(value) else spell_clock(float(value))

    def expected(self, features: Floats) -> str:
        return spell_clock(float(self.decode(np.asarray(features)[None])[0]))

    def to_series(self, values: Array) -> "pl.Series":
        import polars as pl

        nanoseconds = pl.Series(self.name, np.round(values * 1e9), nan_to_null=True)
        return nanoseconds.cast(pl.Int64).cast(pl.Time)

    def describe(self) -> str:
        return f"times of day from {spell_clock(self.earliest)} to {spell_clock(self.latest)}"

    def json_schema(self) -> dict[str, Any]:
        text = f"a time of day like 14:05, or seconds from midnight; {self.describe()} in the fitting rows"
        return {"type": ["string", "number", "null"], "description": text}

    @classmethod
    def infer(cls, cells: TrainingCells) -> Decision | None:
        numbers = cells.noted
        if not isinstance(numbers, Numbers) or numbers.notation != "clock":
            return None
        return cls.of_clock(cells, numbers)

    @classmethod
    def of_clock(cls, cells: TrainingCells, numbers: Numbers) -> Decision:
        """The decision about cells that are times of day."""
        values = cells.noted_values(numbers)
        others = cells.count - len(values)
        share = f"{len(values):,} of {cells.count:,}" if others else f"all {cells.count:,}"
        span = f"{spell_clock(float(values.min()))} to {spell_clock(float(values.max()))}"
        why = cells.with_missing(f"{share} values are times of day, {span}")
        if others:
            rows = f"{others:,} row{'s' * (others != 1)}"
            why += f"; {rows} with anything else ({cells.not_numbers(numbers)}) cannot be read"
        why += f"; {numbers.doubt}" if numbers.doubt else ""
        return Decision(cls(cells.name), why, len(np.unique(values)) > 1)

    def fit(self, values: Floats) -> Self:
        present = values[~np.isnan(values)]
        column = msgspec.structs.replace(self, missing=len(values) - len(present))
        if not len(present):
            return column
        places = _on_circle(present)
        cosine, sine = (float(mean) for mean in places.mean(axis=0))
        scale = max(float(np.sqrt(places.var(axis=0).mean())), LEAST_SCALE)
        bounds = {"earliest": float(present.min()), "latest": float(present.max())}
        return msgspec.structs.replace(column, center=(cosine, sine), scale=scale, **bounds)

    def usual(self, rng: "np.random.Generator") -> str:
        return self.expected(rng.normal(size=2))

    def odd(self, rng: "np.random.Generator") -> str | None:
        return None if rng.random() < 0.3 else self.expected(-8 * np.sign(self.center))


def _on_circle(values: Floats) -> Floats:
    """The cosine and the sine, (n, 2), of seconds from midnight, (n,), as angles."""
    angles = values * (2 * np.pi / DAY)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _beyond(value: Any) -> str:
    return f"a time of day is from 0 to below 86400 seconds from midnight, not {value:g}; use null for an unknown one"
