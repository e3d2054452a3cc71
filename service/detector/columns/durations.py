"""Durations and times of day in texts, both as seconds."""

import re
from typing import Literal

from kilter.service.detector.columns.units import SECONDS

DAY = 86_400.0
TwoParts = Literal["h:m", "m:s"]
"""What two numbers with a colon between them are."""
CLOCK = re.compile(
    r"T?(\d{1,2}):([0-5]\d)(?::([0-5]\d(?:[.,]\d+)?))?(?:\s?([AaPp])\.?[Mm]\.?)?|(\d{1,2})\s?([AaPp])\.?[Mm]\.?"
)
COLONS = re.compile(r"([+-])?\s*(?:(\d+)\s*(?:d|days?),?\s+)?(\d+):([0-5]\d)(?::([0-5]\d)(?:[.,](\d+))?)?")
MINUTES = re.compile(r"([+-])?(\d+):([0-5]\d[.,]\d+)")
ISO = re.compile(
    r"([+-])?P(?=.)(?:(\d+(?:[.,]\d+)?)W)?(?:(\d+(?:[.,]\d+)?)D)?"
    r"(?:T(?=.)(?:(\d+(?:[.,]\d+)?)H)?(?:(\d+(?:[.,]\d+)?)M)?(?:(\d+(?:[.,]\d+)?)S)?)?"
)
PART = re.compile(rf"(\d+(?:\.\d+)?)\s*({'|'.join(sorted(SECONDS, key=len, reverse=True))})(?![^\W\d_])[\s,]*")
LENGTHS = (604_800.0, DAY, 3600.0, 60.0, 1.0)


def clock_seconds(text: str) -> float | None:
    """The seconds from midnight of a time of day like 14:05, 03:04:46.5 or 2:05 pm; None if a text is none."""
    if not (match := CLOCK.fullmatch(text)):
        return None
    hour, minute, second, half, only, only_half = match.groups()
    hours, half = int(hour or only), half or only_half
    if half is not None:
        if not 1 <= hours <= 12:
            return None
        hours = hours % 12 + 12 * (half in "pP")
    if hours > 23:
        return None
    return 3600.0 * hours + 60.0 * int(minute or 0) + float((second or "0").replace(",", "."))


def duration_seconds(text: str, two: TwoParts) -> float | None:
    """The seconds of a duration like 03:04:46, 1 day, 3:04:46, PT3H4M46S or 3h 4m 46s; None if a text is none."""
    if match := MINUTES.fullmatch(text):
        sign, minutes, seconds = match.groups()
        return _signed(sign, 60.0 * int(minutes) + float(seconds.replace(",", ".")))
    if match := COLONS.fullmatch(text):
        sign, days, first, second, third, fraction = match.groups()
        if third is None and two == "m:s" and days is None:
            return _signed(sign, 60.0 * int(first) + int(second))
        seconds = 3600.0 * int(first) + 60.0 * int(second) + float(f"{third or 0}.{fraction or 0}")
        return _signed(sign, DAY * int(days or 0) + seconds)
    if match := ISO.fullmatch(text):
        sign, *parts = match.groups()
        numbers = (float((part or "0").replace(",", ".")) for part in parts)
        return _signed(sign, sum(size * number for size, number in zip(LENGTHS, numbers, strict=True)))
    sign, rest = (text[0], text[1:].lstrip()) if text[:1] in ("+", "-") else (None, text)
    parts = PART.findall(rest)
    if not parts or "".join(match[0] for match in PART.finditer(rest)) != rest:
        return None
    return _signed(sign, sum(float(number) * SECONDS[unit] for number, unit in parts))


def _signed(sign: str | None, seconds: float) -> float:
    return -seconds if sign == "-" else seconds


def spell_duration(seconds: float, two: TwoParts | None = None) -> str:
    """Seconds as a duration: hours, minutes and seconds, or minutes and seconds below an hour where these are usual."""
    sign, rest = ("-", -seconds) if seconds < 0 else ("", seconds)
    rest = round(rest, 6)
    minutes, second = int(rest // 60), rest % 60
    whole = f"{second:09.6f}".rstrip("0").rstrip(".")
    if whole.startswith("60"):
        minutes, whole = minutes + 1, "00"
    if two == "m:s" and minutes < 60:
        return f"{sign}{minutes}:{whole}"
    return f"{sign}{minutes // 60:02}:{minutes % 60:02}:{whole}"


def spell_clock(seconds: float) -> str:
    """Seconds from midnight as a time of day: 14:05, with the seconds where there are some."""
    text = spell_duration(seconds % DAY)
    return text.removesuffix(":00")
