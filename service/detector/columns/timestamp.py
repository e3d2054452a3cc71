"""Columns of times, scored by their calendar fields and never by absolute time."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np

from kilter.service.detector.arrays import Array, Floats, Times
from kilter.service.detector.columns.base import Column, Feature
from kilter.service.detector.columns.cells import Decimal, Decision, TrainingCells
from kilter.service.detector.columns.clocks import UTC_CLOCK, check_clock, clock_label, local_time, typed_times
from kilter.service.detector.columns.instants import COUNTING, EXCEL, EXCEL_EPOCH, ISO, RFC, UNIX, read_instant
from kilter.service.detector.columns.time_formats import find_format

if TYPE_CHECKING:
    import polars as pl

CalendarField = Literal["hour", "weekday", "day", "month"]
CALENDAR_SIZES: dict[CalendarField, int] = {"hour": 24, "weekday": 7, "day": 31, "month": 12}
"""Number of levels of each calendar field; codes run from 0."""
LEAST_DAYS: dict[CalendarField, int] = {"hour": 2, "weekday": 14, "day": 90, "month": 730}
"""Days that times must span before a calendar field is used: what is usual in it is not known earlier."""
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

NEARBY = 25  # times around one that are tried in its place


class TimestampColumn(Column, msgspec.Struct, frozen=True, tag="timestamp", tag_field="kind"):
    """A point in time; one with an offset is taken by the column's clock, one without as it stands."""

    name: str
    format: str
    """See `columns.instants`."""
    fields: tuple[CalendarField, ...]
    missing: int = 0
    clock: str = UTC_CLOCK
    """See `columns.clocks`."""

    dtype = np.dtype("datetime64[us]")
    absent = np.datetime64("NaT", "us")
    is_time = True
    can_group = False

    def __post_init__(self) -> None:
        check_clock(self.clock)

    def features(self, index: int) -> tuple[Feature, ...]:
        return tuple(Feature(index, "level", CALENDAR_SIZES[field]) for field in self.fields)

    def read(self, value: Any) -> np.datetime64:
        return self.read_text(value, ".")

    def read_all(self, cells: Sequence[Any]) -> Array | None:
        if self.format != ISO:
            return None
        try:
            times = [None if cell is None else datetime.fromisoformat(cell) for cell in cells]
            clock = self.clock
            local = [time if time is None or time.tzinfo is None else local_time(time, clock) for time in times]
            return np.array(local, "datetime64[us]")
        except (TypeError, ValueError, OverflowError):
            return None

    def from_array(self, values: Array) -> Array | None:
        return values.astype("datetime64[us]") if values.dtype.kind == "M" else None

    def holds(self, dtype: "pl.DataType") -> bool:
        return str(dtype) == "Date" or str(dtype).startswith("Datetime")

    def from_series(self, cells: "pl.Series") -> Array:
        return typed_times(cells, self.clock)

    def read_text(self, text: Any, decimal: Decimal) -> np.datetime64:
        try:
            return np.datetime64(local_time(read_instant(text, self.format, decimal), self.clock), "us")
        except OverflowError:
            raise ValueError(f"the time {text!r} is out of range") from None

    def encode(self, values: Array) -> Array:
        return np.stack([calendar(field, values) for field in self.fields], axis=1)

    def decode(self, features: Floats) -> Times:
        """The first times from 2024 on that have these calendar fields: when it was, the network does not know."""
        rows = [_moment(dict(zip(self.fields, row, strict=True))) for row in features.tolist()]
        return np.array(rows, "datetime64[us]")

    def stand_ins(self, value: Any, features: Floats) -> Times:
        """Of the times around the value, half a week each way, the nearest with most of the calendar fields."""
        if np.isnat(value):
            return self.decode(features)
        around = self._around(value)
        alike = (self.encode(around)[None] == np.round(features[:, None])).sum(axis=2)
        times: Times = around[alike.argmax(axis=1)]
        return times

    def replacements(self, value: Any, features: Floats) -> list[Any]:
        """What is expected, and the nearest times around the value."""
        times = self.stand_ins(value, features[None])
        if not np.isnat(value):
            times = np.concatenate([times, self._around(value)[1:NEARBY]])
        return [time for time in dict.fromkeys(times) if time != value]

    def way(self, value: Any, target: Any) -> list[Any]:
        if np.isnat(value):
            return []
        around = self._around(value)
        sooner, later = min(value, target), max(value, target)
        return list(around[(around > sooner) & (around < later)])

    def _around(self, value: Any) -> Times:
        """The value, and the times some whole hours, or days if hours do not count, from it, the nearest first."""
        step, most = (1, 84) if "hour" in self.fields else (24, 4)
        steps = sorted(range(-most, most + 1), key=abs)
        times: Times = value + np.array(steps) * np.timedelta64(step, "h")
        return times

    def cell(self, value: Any) -> int | float | str | None:
        """To the second; by ISO 8601 where the column's own format would name another clock."""
        return None if np.isnat(value) else self._written(value.astype("datetime64[s]").item())

    def _written(self, time: datetime) -> int | float | str:
        if self.clock != UTC_CLOCK or self.format == ISO or "%z" in self.format:
            return time.isoformat()
        if self.format in UNIX:
            return int(time.replace(tzinfo=UTC).timestamp()) * UNIX[self.format][0]
        if self.format == EXCEL:
            return round((time - EXCEL_EPOCH) / timedelta(days=1), 6)
        return format_datetime(time.replace(tzinfo=UTC)) if self.format == RFC else time.strftime(self.format)

    def shown(self, value: Any) -> str | None:
        if np.isnat(value):
            return None
        label = clock_label(self.clock)
        return f"{value.astype('datetime64[s]')} ({label})" if label else str(value.astype("datetime64[s]"))

    def expected(self, features: Floats) -> str:
        return ", ".join(
            WEEKDAYS[int(code)] if field == "weekday" else f"{field} {int(code) + (field in ('day', 'month'))}"
            for field, code in zip(self.fields, features, strict=True)
        )

    def describe(self) -> str:
        label = clock_label(self.clock)
        return f"by {', '.join(self.fields)}" + (f", {label}" if label else "")

    def json_schema(self) -> dict[str, Any]:
        label = clock_label(self.clock)
        clock = f"; one with an offset is taken by {label}" if label else ""
        if self.format in COUNTING:
            return {"type": ["number", "null"], "description": f"{COUNTING[self.format]}{clock}"}
        if self.format == ISO:
            return {"type": ["string", "null"], "format": "date-time", "description": f"a time by ISO 8601{clock}"}
        form = "by RFC 2822" if self.format == RFC else f"of the form {self.format}"
        return {"type": ["string", "null"], "description": f"a time {form}, or by ISO 8601{clock}"}

    @property
    def json_type(self) -> Any:
        return int | float | None if self.format in COUNTING else str | None

    @property
    def datatype(self) -> str:
        return "FP64" if self.format in COUNTING else "BYTES"

    def differs(self, other: Column) -> str | None:
        if isinstance(other, TimestampColumn) and other.format != self.format:
            return f"it reads the times of {self.name!r} as {self.format}, the serving version as {other.format}"
        if isinstance(other, TimestampColumn) and other.clock != self.clock:
            return f"it takes the times of {self.name!r} by {self.clock}, the serving version by {other.clock}"
        return None

    def to_series(self, values: Array) -> "pl.Series | None":
        # Without their offsets times by a wall clock are no instants.
        return super().to_series(values) if self.clock == UTC_CLOCK else None

    @classmethod
    def infer(cls, cells: TrainingCells, *, certain: bool = False) -> Decision | None:
        """As of any kind of column; `certain` if cells are known to be times, whatever the column's name."""
        form = find_format(cells, certain=certain)
        if form is None:
            return None
        fields = calendar_fields(form.times)
        first, last = (str(time.astype("datetime64[s]")) for time in (form.times.min(), form.times.max()))
        span = f"from {first} to {last}".replace("T", " ")
        if not fields:
            return Decision(None, f"times {span}: too short a time to know what hour or weekday is usual")
        why = cells.with_missing(f"times {span}, read as {form.format}, scored by {', '.join(fields)}")
        why += "".join(f"; {more}" for more in (form.clock.why, form.doubt) if more)
        return Decision(cls(cells.name, form.format, fields, clock=form.clock.name), why, varies=True)

    def usual(self, rng: "np.random.Generator") -> Any:
        return self._written(datetime(2024, 1, 1) + timedelta(minutes=int(rng.integers(7 * 24 * 60))))


def calendar(field: CalendarField, times: Times) -> Floats:
    """The code of a calendar field, from 0; Monday is weekday 0. NaN where the time is missing."""
    days = times.astype("datetime64[D]")
    months = times.astype("datetime64[M]")
    match field:
        case "hour":
            codes = (times.astype("datetime64[h]") - days).astype(np.int64)
        case "weekday":
            codes = (days.astype(np.int64) + 3) % 7
        case "day":
            codes = (days - months).astype(np.int64)
        case "month":
            codes = months.astype(np.int64) % 12
    return np.where(np.isnat(times), np.nan, codes)


def calendar_fields(times: Times) -> tuple[CalendarField, ...]:
    """The fields of which times span enough days (`LEAST_DAYS`); hours and weekdays must vary, too."""
    days = float(np.ptp(times.astype(np.int64))) / 86_400e6
    return tuple(
        field
        for field, least in LEAST_DAYS.items()
        if days >= least and (field in ("day", "month") or len(np.unique(calendar(field, times))) > 1)
    )


def _moment(codes: dict[CalendarField, float]) -> np.datetime64:
    """The first time from 2024 on with the codes of calendar fields; none if one is NaN."""
    if any(code != code for code in codes.values()):
        return np.datetime64("NaT", "us")
    known = {field: int(code) for field, code in codes.items()}
    hour = np.timedelta64(known.pop("hour", 0), "h")
    moment: np.datetime64 = (_first_day(**known) + hour).astype("datetime64[us]")
    return moment


@cache
def _first_day(weekday: int | None = None, day: int | None = None, month: int | None = None) -> Any:
    """The first day of the years in which all weekdays fall on every date; the month's last where `day` is later."""
    days = np.arange(np.datetime64("2024-01-01"), np.datetime64("2052-01-01"))
    if month is not None:
        days = days[calendar("month", days) == month]
    if day is not None:
        days = days[calendar("day", days) == min(day, calendar("day", days).max())]
    if weekday is not None:
        days = days[calendar("weekday", days) == weekday]
    return days[0]
