"""How the numbers of a column are written: signs of decimals and thousands, currency, unit, brackets, quotes.

Training decides it once by the whole column (`columns.evidence`), an artifact keeps it, and every text of the column is
read by it, wherever it comes from. A plain number, of JSON or of a typed table, is one in the column's own unit.
"""

import re
from decimal import Decimal as Exact
from functools import cached_property
from typing import Literal, NamedTuple

import msgspec

from kilter.service.detector.columns.base import UNKNOWN, describe_value
from kilter.service.detector.columns.durations import TwoParts, duration_seconds, spell_duration
from kilter.service.detector.columns.units import currency_of, factor

BLANKS = "\N{NO-BREAK SPACE}\N{NARROW NO-BREAK SPACE}\N{THIN SPACE}\N{FIGURE SPACE}"
USUAL = str.maketrans(dict.fromkeys(BLANKS, " ") | dict.fromkeys("’‘ʼ`´", "'") | dict.fromkeys("−–", "-"))
"""Blanks, apostrophes and signs of minus to those of a keyboard."""
QUOTED = re.compile(r"'(.+)'|\"(.+)\"|'(.+)")
NUMBER = re.compile(
    r"(\()?\s*([+-])?\s*([^\W\d_]{0,3}[^\w\s.,()+'\"%‰°/*#:;@&?!<>=~_-]|[^\W\d_]{2,3}\.?(?=[\s\d+-]))?\s*([+-])?\s*"
    r"(\d(?:[\d., ']*\d)?[.,]?|[.,]\d+)([eE][+-]?\d+)?\s*"
    r"([^\W\d_]*[^\d\s.,()+'\"/*#:;@&?!<>=~_|^{}\[\]\\-](?:[^\d,()+\":;]{0,14}[^\s\d.,()+\":;-])?[23²³]?\.?)?(-)?\s*(\))?"
)
"""Bracket, sign, word, sign, digits with their separators, exponent, words, sign, bracket."""
SMALLEST, LARGEST = 1e-9, 1e15  # beyond them a number is spelled with an exponent
LONGEST = 80  # characters of a text that may be a number
Decimal = Literal[".", ","]


class NumberParts(NamedTuple):
    """A text that holds a number, taken apart."""

    negative: bool
    digits: str
    """With separators."""
    exponent: str
    currency: str
    """A code or a sign; empty if there is none."""
    unit: str
    words: tuple[str, str]
    """What stands before and after the number."""
    brackets: bool
    quoted: bool
    gap: str
    """What stands between the number and the word."""


def take_apart(text: str) -> NumberParts | None:
    """The parts of a stripped text that holds a number and perhaps a currency and a unit; None if it does not.

    The `/-` that ends amounts in India says nothing.
    """
    if len(text) > LONGEST:
        return None
    text = text.translate(USUAL).removesuffix("/-")
    quotes = QUOTED.fullmatch(text)
    if quotes:
        text = next(part for part in quotes.groups() if part is not None).strip()
    match = NUMBER.fullmatch(text)
    if not match:
        return None
    opened, sign, before, inner, digits, exponent, after, minus, closed = match.groups()
    signs = [one for one in (sign, inner, minus) if one] + (["-"] if opened else [])
    if bool(opened) != bool(closed) or len(signs) > 1:
        return None
    currency, unit = "", after or ""
    if before is not None:
        if (known := currency_of(before)) is None:
            return None
        currency = known
    elif (known := currency_of(unit)) is not None:
        currency, unit = known, ""
    elif (known := currency_of(unit.rpartition(" ")[2] or unit)) is not None:
        currency, unit = known, unit.rpartition(" ")[0].rstrip()
    gap = " " if re.search(r"\d [^\d\s)]|[^\d\s(] \d", text[1:] if sign else text) else ""
    words = (before or "", after or "")
    return NumberParts(signs == ["-"], digits, exponent or "", currency, unit, words, bool(opened), bool(quotes), gap)


class Notation(msgspec.Struct, frozen=True, omit_defaults=True, dict=True):
    """How a column's numbers are written. What only some of them have is taken as the others have it."""

    kind: Literal["number", "duration"] = "number"
    """A duration is a number of seconds."""
    decimal: Decimal = "."
    grouping: str = ""
    """What stands between thousands; a blank stands for all kinds of blanks."""
    currency: str = ""
    unit: str = ""
    before: str = ""
    """The word before a number, and that after it, as most of them have it."""
    after: str = ""
    gap: str = ""
    decimals: int = 0
    """Decimal places that every number has at least."""
    brackets: bool = False
    """Whether brackets stand for a minus."""
    quoted: bool = False
    two: TwoParts = "h:m"
    """What the two numbers of a duration with one colon are."""

    def in_words(self, *, whole: bool) -> str:
        """In a few words with an example: `numbers as 1.234,50 EUR`; `whole` if the column's numbers are."""
        if self.kind == "duration":
            return f"durations like {self.spell(11_086 if self.two == 'h:m' else 754)}, in seconds"
        example = 1234 if whole else 1234.5
        negative = f" and {self.spell(-example)}" if self.brackets else ""
        return f"numbers as {self.spell(example)}{negative}"

    @cached_property
    def _digits(self) -> re.Pattern[str]:
        point, other = (r"\.", ",") if self.decimal == "." else (",", r"\.")
        groups = "|".join(rf"\d{{1,3}}(?:{sign}\d{{3}})+" for sign in (other, " ", "'"))
        indian = r"\d{1,2}(?:,\d\d)+,\d{3}"
        return re.compile(rf"(?:\d+|{groups}|{indian})(?:{point}\d*)?|{point}\d+")

    @cached_property
    def _own(self) -> re.Pattern[str]:
        """The spelling that most texts have, which is read in a tenth of the time that any other takes."""
        if self.kind == "duration":
            return re.compile(r"(\d{1,6}):([0-5]\d):([0-5]\d)", re.ASCII)
        before, after = (rf"(?:{word})?" if word else "" for word in (re.escape(self.before), re.escape(self.after)))
        group = "" if not self.grouping else rf"|\d{{1,3}}(?:{re.escape(self.grouping)}\d{{3}})+"
        digits = rf"(\d{{1,30}}{group})(?:{re.escape(self.decimal)}(\d+))?"
        text = rf"(-)?{before} ?{digits} ?{after}"
        return re.compile(rf"'{text}'" if self.quoted else text, re.ASCII)

    def number(self, text: str) -> float:
        """The number in a stripped text. Raises ValueError, with the remedy, if it is not of this notation."""
        if len(text) > LONGEST or (usual := self._own.fullmatch(text)) is None:
            return self.number_otherwise(text)
        if self.kind == "duration":
            hours, minutes, seconds = usual.groups()
            return 3600.0 * int(hours) + 60.0 * int(minutes) + int(seconds)
        sign, whole, fraction = usual.groups()
        size = float(f"{whole.replace(self.grouping, '') if self.grouping else whole}.{fraction or 0}")
        return -size if sign else size

    def number_otherwise(self, text: str) -> float:
        """`number` of a text in any spelling."""
        if self.kind == "duration" and len(text) <= LONGEST:
            seconds = duration_seconds(text.translate(USUAL).strip(" '\""), self.two)
            if seconds is not None:
                return seconds
        parts = take_apart(text)
        if parts is None or not self._digits.fullmatch(parts.digits):
            raise ValueError(self._refusal(text))
        times = self._times(parts, text)
        digits = parts.digits.translate(_WITHOUT[self.decimal]).replace(self.decimal, ".")
        number = float(digits + parts.exponent) * times if times != 1 else float(digits + parts.exponent)
        return -number if parts.negative else number

    def _times(self, parts: NumberParts, text: str) -> float:
        """What the number is to be multiplied with, by its unit."""
        own = "s" if self.kind == "duration" else self.unit
        if parts.currency and parts.currency != self.currency:
            what = f"those of the column are in {self.currency}" if self.currency else "the column has no currency"
            raise ValueError(
                f"{describe_value(text)} is in {parts.currency}, and {what}: convert it, or leave it empty"
            )
        times = factor(parts.unit, own) if parts.unit else 1.0
        if times is None:
            what = f"those of the column are in {own}" if own else "the column has no unit"
            raise ValueError(
                f"{describe_value(text)} has the unit {parts.unit}, and {what}: convert it, or leave it empty"
            )
        return times

    def _refusal(self, text: str) -> str:
        if self.kind == "duration":
            return f"a duration like {self.spell(11_086)} is expected, not {describe_value(text)}; {UNKNOWN}"
        return f"a number like {self.spell(1234.5)} is expected, not {describe_value(text)}; {UNKNOWN}"

    def spell(self, value: float) -> str:
        """A number as the column writes it, so that `number` gives it again."""
        if self.kind == "duration":
            return spell_duration(value, self.two)
        size = abs(value)
        if size and not SMALLEST <= size < LARGEST:
            text = repr(float(size)).replace(".", self.decimal)
        else:
            places = f"{size:.{self.decimals}f}"
            digits = places if float(places) == size else f"{Exact(repr(size)).normalize():f}"
            whole, _, fraction = digits.partition(".")
            if self.grouping:
                whole = f"{int(whole):,}".replace(",", self.grouping)
            text = whole + (self.decimal + fraction if fraction else "")
        before = self.before and self.before + (self.gap or " " * self.before[-1].isalpha())
        text = before + text + (self.after and self.gap + self.after)
        if value < 0:
            text = f"({text})" if self.brackets else f"-{text}"
        return f"'{text}'" if self.quoted else text


_WITHOUT = {point: str.maketrans(dict.fromkeys(" '.,".replace(point, ""), None)) for point in (".", ",")}
