"""Which texts or numbers are times, in what format, and which calendar fields the data can support."""

import re
from collections.abc import Iterator, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kilter.service.detector.inputs import timestamp_reader
from kilter.service.detector.schema import CalendarField

Times = npt.NDArray[np.datetime64]

PROBED = 200
"""Number of distinct texts on which a format is tried first."""
TOLERATED = 0.01
"""Largest share of texts that may be no times in a column of times."""
PLAUSIBLE = (315_532_800, 4_102_444_800)
"""Unix seconds of 1980 and 2100."""
TIME_NAME = re.compile(r"time|date|(^|_)ts$|epoch|unix|_at$|(created|updated|modified)$", re.IGNORECASE)
CLOCKS = ("", "%H:%M", "%H:%M:%S", "%H:%M:%S.%f", "%I:%M %p", "%I:%M:%S %p")
WORDS = ("%d %b %Y", "%d-%b-%Y", "%d-%b-%y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y", "%d/%b/%Y")
NUMERIC = ("%Y{0}%m{0}%d", "%d{0}%m{0}%Y", "%m{0}%d{0}%Y", "%d{0}%m{0}%y", "%m{0}%d{0}%y")
OTHER = ("%Y%m%d", "%Y%m%d%H%M%S", "%a %b %d %H:%M:%S %Y", "%a, %d %b %Y %H:%M:%S %z", "%d/%b/%Y:%H:%M:%S %z")


class TimeFormat(NamedTuple):
    """How a column's texts are read as times, and the times that they give."""

    form: str
    """See `TimestampColumn.format`."""
    times: Times
    doubt: str = ""
    """What a person should check, where the texts can be read in two ways."""


def text_format(texts: Sequence[str]) -> TimeFormat | None:
    """The format of distinct texts, in the order in which they came, if almost all of them are times."""
    probes = texts[:: max(1, len(texts) // PROBED)]
    fitting = [form for form in _candidates(probes[0]) if _read(form, probes) is not None]
    read = [TimeFormat(form, times) for form in fitting[:4] if (times := _read(form, texts)) is not None]
    if len(read) < 2 or read[0].form == "iso":
        return read[0] if read else None
    ordered = [found for found in read if (np.diff(found.times) >= np.timedelta64(0)).all()]
    best = ordered[0] if len(ordered) == 1 else min(read, key=lambda found: np.ptp(found.times.astype(np.int64)))
    other = next(found.form for found in read if found is not best)
    return best._replace(doubt=f"{texts[0]!r} may also be read as {other}: write ISO 8601 if that is meant")


def unix_format(name: str, values: npt.NDArray[np.float64]) -> TimeFormat | None:
    """The format of whole numbers if they are Unix times: the column's name says time, and all are plausible."""
    if not TIME_NAME.search(name):
        return None
    low, high = PLAUSIBLE
    for form, unit in (("unix_s", 1), ("unix_ms", 1000)):
        if (values >= low * unit).all() and (values <= high * unit).all():
            return TimeFormat(form, (values * (1_000_000 / unit)).astype(np.int64).astype("datetime64[us]"))
    return None


def calendar_fields(times: Times) -> tuple[CalendarField, ...]:
    """The fields that times vary in, and of which they have seen enough rounds to know what is usual.

    Hours need two days, weekdays two weeks, days of the month 90 days, months two years.
    """
    days = float(np.ptp(times.astype(np.int64))) / 86_400e6
    hours = times.astype("datetime64[h]").astype(np.int64) % 24
    weekdays = times.astype("datetime64[D]").astype(np.int64) % 7
    fields: list[CalendarField] = []
    if days >= 2 and len(np.unique(hours)) > 1:
        fields.append("hour")
    if days >= 14 and len(np.unique(weekdays)) > 1:
        fields.append("weekday")
    if days >= 90:
        fields.append("day")
    if days >= 730:
        fields.append("month")
    return tuple(fields)


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


def _read(form: str, texts: Sequence[str]) -> Times | None:
    """The times of texts, without those that are none; None if those are too many."""
    read = timestamp_reader(form)
    times: list[np.datetime64] = []
    failures = 0
    for text in texts:
        try:
            times.append(read(text))
        except ValueError:
            failures += 1
            if failures > TOLERATED * len(texts):
                return None
    return np.array(times, "datetime64[us]")
