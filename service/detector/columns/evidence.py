"""What training decides about how the numbers of a column are written, by all of its texts together."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

from kilter.service.detector.columns.base import FLOAT32_MAX, list_names
from kilter.service.detector.columns.durations import TwoParts, clock_seconds, duration_seconds
from kilter.service.detector.columns.notation import LONGEST, USUAL, Decimal, Notation, NumberParts, take_apart
from kilter.service.detector.columns.units import PREFIXES, factor, quantity_of

PROBED = 500  # number of distinct texts that are looked at first
LIKELY = 0.9  # share of those that must be numbers of some kind for all to be looked at
DECIDING = 20_000  # most distinct texts that are taken apart
READ = 0.99  # share of a column's values that one notation must read
FEW_NUMBERS = 10
"""Up to so many distinct numbers, a word after them may make names of them, as in 4WD, and 16:10 may be a ratio."""
FEW_UNITS = 3  # up to so many single words of more than a letter are taken for units, more for parts of names
NOON = 12 * 3600.0
LATE = 0.1
"""Times of day reach beyond noon, and durations that fit on a clock seldom do: with this share they are the former."""
PHONE = 9  # digits from which on groups with blanks that all have the same length are a number to call, and not one
AMBIGUOUS = re.compile(r"[1-9]\d{0,2}[.,]\d{3}")
SHORT = re.compile(r"[+-]?(\d+):\d\d")
COMPOUND = re.compile(r"[:PT]|\d\s*[^\W\d]+[\s,]*\d")
LASTING_NAME = re.compile(
    r"durat|elapsed|runtime|length|latency|delay|uptime|downtime|wait|lap(?![a-z])|interval|took|respon|age(?![a-z])",
    re.IGNORECASE,
)
CLOCK_NAME = re.compile(
    r"time_?of_?day|clock|start|begin|(^|[^a-z])(end|at|open|close|from|until)(?![a-z])|depart|arriv|check_?(in|out)",
    re.IGNORECASE,
)


class Numbers(NamedTuple):
    """A notation, the numbers of the distinct texts that it reads, and the doubt that it leaves."""

    notation: Notation | Literal["clock"]
    """`clock` for times of day, in seconds from midnight."""
    of: Mapping[str, float]
    doubt: str = ""


def find_numbers(name: str, texts: Mapping[str, int], decimal: Decimal) -> Numbers | str | None:
    """The notation of a column's distinct texts, with the number of rows that have each.

    None if they are no numbers, or plain ones with the `decimal` sign of the file; a sentence if they are numbers that
    do not compare.
    """
    probes = dict.fromkeys([*texts][:: max(1, len(texts) // PROBED)], 1)
    for search in (_in_time, _in_figures):
        if search(name, probes, decimal, LIKELY) is not None:
            return search(name, texts, decimal, READ)
    return None


def _share(texts: Mapping[str, int], some: Mapping[str, object]) -> float:
    return sum(texts[text] for text in some) / max(1, sum(texts.values()))


def clocks_of(texts: Mapping[str, int], least: float = READ) -> Numbers | None:
    """The texts as times of day; None if too many are none."""
    clocks = {text: at for text, bare in _usual(texts).items() if (at := clock_seconds(bare)) is not None}
    return Numbers("clock", clocks) if _share(texts, clocks) >= least else None


def durations_of(texts: Mapping[str, int], least: float = READ) -> Numbers | None:
    """The texts as durations; None if too many are none, or all are numbers with a unit."""
    usual = _usual(texts)
    two, doubt = _two_parts(usual)
    lasting = {text: long for text, bare in usual.items() if (long := duration_seconds(bare, two)) is not None}
    if _share(texts, lasting) < least or not any(COMPOUND.search(usual[text]) for text in lasting):
        return None
    return Numbers(Notation("duration", two=two), lasting, doubt)


def _usual(texts: Mapping[str, int]) -> dict[str, str]:
    return {text: text.translate(USUAL).strip(" '\"") for text in texts if len(text) <= LONGEST}


def _in_time(name: str, texts: Mapping[str, int], _: Decimal, least: float) -> Numbers | None:
    """Times of day or durations, which all values decide together: what no clock shows is a duration."""
    clocks, durations = clocks_of(texts, least), durations_of(texts, least)
    if clocks is None or durations is None:
        only = durations or (clocks if clocks and any("m" in text.lower() for text in clocks.of) else None)
        return only if only is None or not _may_be_ratios(only) else None
    if _may_be_ratios(durations):
        return None
    late = sum(texts[text] for text, at in clocks.of.items() if at >= NOON)
    clock, long = (bool(pattern.search(name)) for pattern in (CLOCK_NAME, LASTING_NAME))
    if clock if clock != long else late >= LATE * sum(texts[text] for text in clocks.of):
        return clocks._replace(doubt="they may be durations, too: --numeric reads them so")
    doubts = ("they may be times of day, too: --timestamp reads them so", durations.doubt)
    return durations._replace(doubt="; ".join(filter(None, doubts)))


def _may_be_ratios(numbers: Numbers) -> bool:
    """Whether they are few, and no more than two numbers with a colon each, as 16:10 is."""
    return len(numbers.of) <= FEW_NUMBERS and all(
        SHORT.fullmatch(text.translate(USUAL).strip(" '\"")) for text in numbers.of
    )


def _two_parts(usual: Mapping[str, str]) -> tuple[TwoParts, str]:
    """What the two numbers of 4:05 are, and the doubt about it."""
    short = {text: int(match[1]) for text, bare in usual.items() if (match := SHORT.fullmatch(bare))}
    if not short:
        return "h:m", ""
    if max(short.values()) > 23 or any(
        bare.count(":") == 2 or re.search(r":\d\d[.,]", bare) for bare in usual.values()
    ):
        return "m:s", ""
    return (
        "h:m",
        f"{next(iter(short))!r} is read as hours and minutes: write 0:{next(iter(short))} for minutes and seconds",
    )


def _in_figures(_: str, texts: Mapping[str, int], decimal: Decimal, least: float) -> Numbers | str | None:
    """Numbers with separators, currencies, units, brackets or quotes.

    Of very many texts a part, evenly spread, decides, and all are read.
    """
    some = {text: texts[text] for text in [*texts][:: -(-len(texts) // DECIDING)]}
    parts = {text: one for text in some if (one := take_apart(text)) is not None}
    if _share(some, parts) < least or _are_codes(parts):
        return None
    unit, mixture = _unit(texts, parts)
    if mixture is not None:
        return mixture or None
    signs = _Signs(parts, decimal)
    notation = _notation(texts, parts, signs, unit)
    of: dict[str, float] = {}
    for text in texts:
        try:
            number = notation.number(text)
        except ValueError:
            continue
        if abs(number) <= FLOAT32_MAX:
            of[text] = number
    is_plain = notation == Notation(decimal=decimal, decimals=notation.decimals)
    if _share(texts, of) < least or (is_plain and all(_is_bare(text, one) for text, one in parts.items())):
        return None
    word = notation.unit
    if word and quantity_of([word]) is None and len({*of.values()}) <= FEW_NUMBERS:
        return None
    return Numbers(notation, of, signs.doubt)


def _is_bare(text: str, parts: NumberParts) -> bool:
    """Whether a text is its digits alone, with a sign at most."""
    return text.removeprefix("-").removeprefix("+") == parts.digits + parts.exponent


def _are_codes(parts: Mapping[str, NumberParts]) -> bool:
    """Whether more than few begin with a zero that counts for nothing, or all are like numbers to call."""
    bare = [one.digits for one in parts.values() if not one.currency and not one.unit]
    zeros = sum(digits[0] == "0" and digits[1:2].isdigit() and digits.replace(" ", "").isdigit() for digits in bare)
    if zeros > (1 - READ) * len(parts):
        return True
    lengths = {len(digits.replace(" ", "")) if " " in digits else 0 for digits in bare}
    return len(bare) == len(parts) and len(lengths) == 1 and min(lengths) >= PHONE


def _unit(texts: Mapping[str, int], parts: Mapping[str, NumberParts]) -> tuple[str, str | None]:
    """The unit that a column's numbers are in, and why they do not compare; empty if they are no numbers at all."""
    units: Counter[str] = Counter()
    currencies: Counter[str] = Counter()
    for text, one in parts.items():
        units[one.unit] += texts[text]
        currencies[one.currency] += texts[text]
    named = [(unit, count) for unit, count in units.most_common() if unit]
    most = named[0][0] if named else ""
    if quantity_of(units) is PREFIXES and (len(units) > 1):
        most = ""
    others = sum(count for unit, count in named if factor(unit, most) is None)
    total = units.total()
    if others > (1 - READ) * total:
        known = all(quantity_of([unit]) for unit, _ in named)
        known |= len(named) <= FEW_UNITS and all(len(unit) > 1 and " " not in unit for unit, _ in named)
        return most, _mixture("units", [unit for unit, _ in named]) if known else ""
    moneys = [currency for currency, _ in currencies.most_common() if currency]
    if len(moneys) > 1 and total - currencies[moneys[0]] - currencies[""] > (1 - READ) * total:
        return most, _mixture("currencies", moneys)
    return most, None


def _mixture(what: str, names: list[str]) -> str:
    return f"its numbers are in several {what} ({list_names(names)}), which do not compare: convert them to one"


class _Signs:
    """The signs of decimals and of thousands, by what every number of a column says of them."""

    def __init__(self, parts: Mapping[str, NumberParts], decimal: Decimal) -> None:
        points: Counter[str] = Counter()
        groups: Counter[str] = Counter()
        open_: Counter[str] = Counter()
        plain: list[int] = []
        example: dict[str, str] = {}
        for text, one in parts.items():
            digits = one.digits
            if not re.search(r"\D", digits):
                plain.append(int(digits))
            elif AMBIGUOUS.fullmatch(digits) and not one.exponent:
                sign = digits[-4]
                open_[sign] += 1
                example.setdefault(sign, text)
            else:
                for kind, sign in _signs_of(digits):
                    (points if kind == "decimal" else groups)[sign] += 1
        self.doubt = ""
        self.decimal = self._decide(points, groups, open_, [one for one in plain if one], decimal, example)
        groups += Counter({sign: count for sign, count in open_.items() if sign != self.decimal})
        usual = [sign for sign, _ in groups.most_common() if sign != self.decimal]
        self.grouping = usual[0] if usual else ""

    def _decide(
        self,
        points: Counter[str],
        groups: Counter[str],
        open_: Counter[str],
        plain: list[int],
        decimal: Decimal,
        example: Mapping[str, str],
    ) -> Decimal:
        votes = {sign: points[sign] + groups[other] for sign, other in ((".", ","), (",", "."))}
        if votes["."] != votes[","]:
            return "." if votes["."] > votes[","] else ","
        if len(open_) != 1:
            return decimal
        [sign] = open_
        other: Decimal = "," if sign == "." else "."
        count, text = open_[sign], example[sign]
        if plain and max(plain) < 1000 and len(plain) >= (1 - READ) * count:
            self.doubt = f"{text!r} is read with thousands, as numbers under 1000 stand without {sign!r}"
            if sign == decimal:
                self.doubt += f" and all others have three digits after it: write 999{sign}000 if these are decimals"
            return other
        if sign == decimal or any(number >= 1000 for number in plain):
            return "." if sign == "." else ","
        self.doubt = f"{text!r} is read with thousands, as the decimal sign of the file is {decimal!r}"
        return other


def _signs_of(digits: str) -> Iterator[tuple[Literal["decimal", "grouping"], str]]:
    """What the separators of a number are, as far as it says it itself."""
    signs = re.findall(r"\D", digits)
    last = signs[-1]
    if last in ".," and signs.count(last) == 1:
        yield "decimal", last
        signs.pop()
    if signs:
        yield "grouping", signs[0]


def _notation(texts: Mapping[str, int], parts: Mapping[str, NumberParts], signs: _Signs, unit: str) -> Notation:
    """The notation of a column, with the words as most of its numbers have them."""
    words: Counter[tuple[str, str, str]] = Counter()
    currencies: Counter[str] = Counter()
    quoted, places = 0, []
    for text, one in parts.items():
        count = texts[text]
        if one.unit in ("", unit) and (one.currency or one.unit):
            words[*one.words, one.gap] += count
        currencies[one.currency] += count
        quoted += count * one.quoted
        places.append(len(one.digits.rpartition(signs.decimal)[2]) if signs.decimal in one.digits else 0)
    before, after, gap = words.most_common(1)[0][0] if words else ("", "", "")
    return Notation(
        decimal=signs.decimal,
        grouping=signs.grouping,
        currency=next((name for name, _ in currencies.most_common() if name), ""),
        unit=unit,
        before=before,
        after=after,
        gap=gap,
        decimals=min(places),
        brackets=any(one.brackets for one in parts.values()),
        quoted=2 * quoted > sum(texts[text] for text in parts),
    )
