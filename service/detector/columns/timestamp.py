"""Columns of times, scored by their calendar fields and never by absolute time."""

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec
import numpy as np

from kilter.service.detector.arrays import Array, Floats, Times
from kilter.service.detector.columns.base import NUMBERS, Column, Feature, describe_value
from kilter.service.detector.columns.cells import Decimal, Decision, TrainingCells, parse_number

if TYPE_CHECKING:
    import polars as pl

CalendarField = Literal["hour", "weekday", "day", "month"]
CALENDAR_SIZES: dict[CalendarField, int] = {"hour": 24, "weekday": 7, "day": 31, "month": 12}
"""Number of levels of each calendar field; codes run from 0."""
LEAST_DAYS: dict[CalendarField, int] = {"hour": 2, "weekday": 14, "day": 90, "month": 730}
"""Days that times must span before a calendar field is used: what is usual in it is not known earlier."""
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
UNIX = {"unix_s": (1, "seconds"), "unix_ms": (1000, "milliseconds")}
"""Formats of Unix times, with their units in a second and the units' names."""
PROBED = 200  # number of distinct texts on which a format is tried first
TOLERATED = 0.01  # largest share of texts that may be no times in a column of times
PLAUSIBLE = (315_532_800, 4_102_444_800)  # Unix seconds of 1980 and 2100
TIME_NAME = re.compile(r"time|date|(^|_)ts$|epoch|unix|_at$|(created|updated|modified)$", re.IGNORECASE)
POINTED = re.compile(r"([0-9]{8}|[0-9]{14})\.0+", re.ASCII)  # 20240531 or 20240531081500, with the .0 of a number
CLOCKS = ("", "%H:%M", "%H:%M:%S", "%H:%M:%S.%f", "%I:%M %p", "%I:%M:%S %p")
WORDS = ("%d %b %Y", "%d-%b-%Y", "%d-%b-%y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y", "%d/%b/%Y")
NUMERIC = ("%Y{0}%m{0}%d", "%d{0}%m{0}%Y", "%m{0}%d{0}%Y", "%d{0}%m{0}%y", "%m{0}%d{0}%y")
OTHER = ("%Y%m%d", "%Y%m%d%H%M%S", "%a %b %d %H:%M:%S %Y", "%a, %d %b %Y %H:%M:%S %z", "%d/%b/%Y:%H:%M:%S %z")


class TimestampColumn(Column, msgspec.Struct, frozen=True, tag="timestamp", tag_field="kind"):
    """A point in time; one with an offset is converted to UTC, one without is taken as it stands."""

    name: str
    format: str
    """The format of its texts: `iso` (ISO 8601), `unix_s`, `unix_ms`, or a strptime format."""
    fields: tuple[CalendarField, ...]
    missing: int = 0

    dtype = np.dtype("datetime64[us]")
    absent = np.datetime64("NaT", "us")
    is_time = True
    can_group = False

    def features(self, index: int) -> tuple[Feature, ...]:
        return tuple(Feature(index, "level", CALENDAR_SIZES[field]) for field in self.fields)

    def read(self, value: Any) -> np.datetime64:
        return read_time(value, self.format)

    def read_all(self, cells: Sequence[Any]) -> Array | None:
        if self.format != "iso":
            return None
        try:
            times = [None if cell is None else datetime.fromisoformat(cell) for cell in cells]
        except (TypeError, ValueError):
            return None
        for time in times:
            if time is not None and time.tzinfo is not None:
                return None
        return np.array(times, "datetime64[us]")

    def from_array(self, values: Array) -> Array | None:
        return values.astype("datetime64[us]") if values.dtype.kind == "M" else None

    def holds(self, dtype: "pl.DataType") -> bool:
        return str(dtype) == "Date" or str(dtype).startswith("Datetime")

    def from_series(self, cells: "pl.Series") -> Array:
        return _times_of(cells)

    def read_text(self, text: str, decimal: Decimal) -> np.datetime64:
        return read_time(parse_number(text, decimal) if self.format in UNIX else text, self.format)

    def encode(self, values: Array) -> Array:
        return np.stack([calendar(field, values) for field in self.fields], axis=1)

    def shown(self, value: Any) -> str | None:
        return None if np.isnat(value) else str(value.astype("datetime64[s]"))

    def expected(self, features: Floats) -> str:
        return ", ".join(
            WEEKDAYS[int(code)] if field == "weekday" else f"{field} {int(code) + (field in ('day', 'month'))}"
            for field, code in zip(self.fields, features, strict=True)
        )

    def describe(self) -> str:
        return f"by {', '.join(self.fields)}"

    def json_schema(self) -> dict[str, Any]:
        if self.format in UNIX:
            return {"type": ["number", "null"], "description": f"a Unix time in {UNIX[self.format][1]}"}
        if self.format == "iso":
            return {"type": ["string", "null"], "format": "date-time", "description": "a time by ISO 8601"}
        return {"type": ["string", "null"], "description": f"a time of the form {self.format}"}

    @property
    def json_type(self) -> Any:
        return int | float | None if self.format in UNIX else str | None

    @property
    def datatype(self) -> str:
        return "FP64" if self.format in UNIX else "BYTES"

    def differs(self, other: Column) -> str | None:
        if isinstance(other, TimestampColumn) and other.format != self.format:
            return f"it reads the times of {self.name!r} as {self.format}, the serving version as {other.format}"
        return None

    @classmethod
    def infer(cls, cells: TrainingCells) -> Decision | None:
        form = _format_of(cells)
        if form is None:
            return None
        fields = calendar_fields(form.times)
        first, last = (str(time.astype("datetime64[s]")) for time in (form.times.min(), form.times.max()))
        span = f"from {first} to {last}".replace("T", " ")
        if not fields:
            return Decision(None, f"times {span}: too short a time to know what hour or weekday is usual")
        why = cells.with_missing(f"times {span}, read as {form.format}, scored by {', '.join(fields)}")
        why += f"; {form.doubt}" if form.doubt else ""
        return Decision(cls(cells.name, form.format, fields), why, varies=True)

    def usual(self, rng: "np.random.Generator") -> Any:
        time = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(minutes=int(rng.integers(7 * 24 * 60)))
        if self.format in UNIX:
            return int(time.timestamp()) * UNIX[self.format][0]
        return time.replace(tzinfo=None).isoformat() if self.format == "iso" else time.strftime(self.format)


def read_time(value: Any, form: str) -> np.datetime64:
    """A cell (text, number or datetime) as datetime64[us], by a `TimestampColumn.format`. Raises ValueError."""
    if isinstance(value, datetime):
        return _utc(value)
    if form in UNIX:
        number = parse_number(value.strip(), ".") if isinstance(value, str) else value
        if isinstance(number, bool) or not isinstance(number, NUMBERS):
            raise ValueError(f"a Unix time is expected, not {describe_value(value)}")
        try:
            return _utc(datetime.fromtimestamp(float(number) / UNIX[form][0], UTC))
        except (OSError, ValueError, OverflowError):
            raise ValueError(f"the Unix time {value!r} is out of range") from None
    text = value if isinstance(value, str) else _digits(value)
    if text is None:
        raise ValueError(f"a time is expected, not {describe_value(value)}")
    try:
        return _utc(datetime.fromisoformat(text) if form == "iso" else datetime.strptime(text, form))
    except ValueError:
        if text is value and (digits := _digits(value)) is not None:
            return read_time(int(digits), form)
        pattern = "like 2024-05-31T08:15:00 (ISO 8601)" if form == "iso" else f"of the form {form}"
        raise ValueError(f"a time {pattern} is expected, not {describe_value(value)}") from None


def _digits(value: Any) -> str | None:
    """The digits of a compact time that came as a number, or with the `.0` of one; None if it is neither."""
    if isinstance(value, str):
        return digits[1] if (digits := POINTED.fullmatch(value)) else None
    if isinstance(value, bool) or not isinstance(value, NUMBERS) or not (0 < value < 1e15 and value % 1 == 0):
        return None
    text = f"{value:.0f}"
    return text if len(text) in (8, 14) else None


def _utc(time: datetime) -> np.datetime64:
    return np.datetime64(time if time.tzinfo is None else time.astimezone(UTC).replace(tzinfo=None), "us")


def _times_of(cells: "pl.Series") -> Times:
    """Dates and times of a typed table, by UTC where they have a time zone."""
    import polars as pl

    if isinstance(cells.dtype, pl.Datetime) and cells.dtype.time_zone:
        cells = cells.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    return cells.cast(pl.Datetime("us")).to_numpy().astype("datetime64[us]")


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


class TimeFormat(NamedTuple):
    """A `TimestampColumn.format`, the times that it gives, and the doubt if texts can be read in two ways."""

    format: str
    times: Times
    doubt: str = ""


def _format_of(cells: TrainingCells) -> TimeFormat | None:
    """The format of a column of times; None for any other column."""
    if cells.texts is None and cells.numbers is None:
        is_time = str(cells.cells.dtype) == "Date" or str(cells.cells.dtype).startswith("Datetime")
        return TimeFormat("iso", _times_of(cells.cells.drop_nulls())) if is_time else None
    if not cells.are_numbers:
        return text_format(cells.distinct_texts.to_list())
    if cells.are_whole and len(cells.values) == cells.count:
        return unix_format(cells.name, cells.values) or _compact_format(cells)
    return None


def text_format(texts: Sequence[str]) -> TimeFormat | None:
    """The format of distinct texts, in the order in which they came, if almost all of them are times."""
    probes = texts[:: max(1, len(texts) // PROBED)]
    fitting = [form for form in _candidates(probes[0]) if _read_texts(form, probes) is not None]
    formats = [TimeFormat(form, times) for form in fitting[:4] if (times := _read_texts(form, texts)) is not None]
    if len(formats) < 2 or formats[0].format == "iso":
        return formats[0] if formats else None
    ordered = [form for form in formats if (np.diff(form.times) >= np.timedelta64(0)).all()]
    best = ordered[0] if len(ordered) == 1 else min(formats, key=lambda form: np.ptp(form.times.astype(np.int64)))
    other = next(form.format for form in formats if form is not best)
    return best._replace(doubt=f"{texts[0]!r} may also be read as {other}: write ISO 8601 if that is meant")


def unix_format(name: str, values: Floats) -> TimeFormat | None:
    """The format of whole numbers if they are Unix times: the column's name says time, and all are plausible."""
    if not TIME_NAME.search(name):
        return None
    low, high = PLAUSIBLE
    for form, (per_second, _) in UNIX.items():
        if (values >= low * per_second).all() and (values <= high * per_second).all():
            return TimeFormat(form, (values * (1_000_000 / per_second)).astype(np.int64).astype("datetime64[us]"))
    return None


def _compact_format(cells: TrainingCells) -> TimeFormat | None:
    """The format of dates that are written as whole numbers, like 20240531."""
    values, distinct = cells.values, cells.distinct_numbers
    if not (values.min() >= 19_800_101 and values.max() <= 21_001_231 and distinct > 1):
        return None
    form = text_format([f"{value:.0f}" for value in np.unique(values)])
    return form if form is not None and len(form.times) == distinct else None


def _candidates(example: str) -> Iterator[str]:
    yield "iso"
    if not re.search(r"\d", example):
        return
    separators = [mark for mark in "./-" if example.count(mark) >= 2]
    dates = [form.format(separators[0]) for form in NUMERIC] if separators else []
    for date, clock in product((*dates, *WORDS), CLOCKS):
        yield f"{date} {clock}".rstrip()
        if clock.startswith("%H"):
            yield f"{date}T{clock}"
    yield from OTHER


def _read_texts(form: str, texts: Sequence[str]) -> Times | None:
    """The times of texts, without those that are none; None if those are too many."""
    times: list[np.datetime64] = []
    for i, text in enumerate(texts):
        try:
            times.append(read_time(text, form))
        except ValueError:
            if i + 1 - len(times) > TOLERATED * len(texts):
                return None
    return np.array(times, "datetime64[us]")
