"""How a text table is written: its delimiter, quotes and escapes, found in its first lines."""

import csv
import re
from collections.abc import Iterable, Sequence
from itertools import product
from typing import NamedTuple

from kilter.service.detector.errors import KilterError
from kilter.service.formats.heading import all_values, find_heading, has_names, usual_width
from kilter.service.formats.records import Dialect

DELIMITERS = ",;\t|"
OTHERS = "^~:\x1f\x1e\x1d\x1c\x01\x02\x03\x04\x05\x06\x07\x08\x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a¦§¬ "
"""Delimiters that are believed only where every line, the header first, has as many fields, and none of the usual."""
QUOTES = "\"'"
ESCAPE = "\\"
SAMPLE = 200  # number of records on which the dialect is decided
MOST = 0.8  # share of the sample that a usual delimiter should split alike before others are tried
GAPS = re.compile(r"\A\s*\S+ {2,}\S")  # in a header whose columns are filled up to one width
NAMES = {"tab": "\t", "\\t": "\t", "space": " ", "blank": " ", "comma": ",", "semicolon": ";", "pipe": "|"}


def delimiter_of(stated: str) -> str:
    """The character that a user means: itself, `tab`, `space`, or a code like `\\x1f`. Raises KilterError."""
    text = NAMES.get(stated.lower(), stated)
    if len(text) == 4 and text.startswith("\\x"):
        try:
            text = chr(int(text[2:], 16))
        except ValueError:
            text = stated
    if len(text) != 1 or text in '"\r\n\0':
        raise KilterError(
            f"a delimiter is one character, a name ({', '.join(name for name in NAMES if name.isalpha())}) or a code "
            f"like \\x1f, and no quote or line end; not {stated!r}"
        )
    return text


def shown_delimiter(delimiter: str) -> str:
    """How a message names a delimiter."""
    names = {char: name for name, char in reversed(NAMES.items()) if name.isalpha()}
    return names[delimiter] if delimiter in "\t " else repr(delimiter)


class Rank(NamedTuple):
    """How much speaks for a dialect; the higher, the more."""

    named: bool = False
    """Whether a record holds every column that there should be."""
    share: float = 0
    """Of the records that have as many fields as most."""
    fields: int = 0
    plain: bool = False
    """Whether a quote stands beside no other kind of quotes."""


def sniff(text: str, delimiter: str | None = None, names: Sequence[str] = ()) -> Dialect:
    """The dialect of some complete lines, in which most records have as many fields as one another, and many of them.

    A table of one column gets a delimiter that does not occur in it. One that splits a record into all of `names`, or
    that is stated, is taken whatever the others.
    """
    best, rank = _best(text, [delimiter] if delimiter else DELIMITERS, names)
    splits_first = best.delimiter in text.lstrip("\r\n").partition("\n")[0]
    if not delimiter and not rank.named and (rank.share < MOST or not splits_first):
        other, other_rank = _best(text, [char for char in OTHERS if char in text], names, even=True)
        if other_rank > rank:
            best, rank = other, other_rank
    if rank.fields:
        return best
    return Dialect(delimiter or next((char for char in DELIMITERS if char not in text), ","))


def _best(text: str, delimiters: Iterable[str], names: Sequence[str], *, even: bool = False) -> tuple[Dialect, Rank]:
    best, best_rank = Dialect(), Rank()
    escapes = ["", ESCAPE] if any(ESCAPE + quote in text for quote in QUOTES) else [""]
    quotes = [QUOTES[0], *(quote for quote in QUOTES[1:] if quote in text)]
    for delimiter, quote, escape in product(delimiters, quotes, escapes):
        dialect = Dialect(delimiter, quote=quote, escape=escape, padded=delimiter == " ")
        rank = _rank(text, dialect, names, even=even)
        if rank > best_rank:
            best, best_rank = dialect, rank
        if rank.named and rank.share == 1:
            break
    return best, best_rank


def _rank(text: str, dialect: Dialect, names: Sequence[str], *, even: bool) -> Rank:
    rows, broken = _sample(text, dialect, strict=True)
    if not rows:
        rows, broken = _sample(text, dialect, strict=False)
    if not rows or (dialect.quote != QUOTES[0] and not _encloses(text, dialect)):
        return Rank()
    heading = find_heading(rows, names)
    width, count = usual_width(rows), len(rows) + broken
    share = sum(len(row) == width for row in rows) / count
    named = bool(names) and any(has_names(row, names) for row in rows)
    if not named:
        if width < 2 or (len(rows[0]) == 1 and not heading.explained):
            return Rank()
        alike = heading.row_names and len({*map(len, rows[1:])}) == 1
        if (even and not (share == 1 or alike)) or (dialect.padded and not (_has_values(rows) or GAPS.search(text))):
            return Rank()
    return Rank(named, round(share, 2), width, dialect.quote != QUOTES[0] and QUOTES[0] not in text)


def _sample(text: str, dialect: Dialect, *, strict: bool) -> tuple[list[list[str]], int]:
    """The first records, and the number of those that cannot be read; if `strict`, for text behind a closing quote."""
    rows: list[list[str]] = []
    broken = 0
    reader = dialect.rows((line + "\n" for line in text.split("\n")), strict=strict)
    while len(rows) + broken < SAMPLE:
        try:
            if row := next(reader):
                rows.append(row)
        except StopIteration:
            break
        except csv.Error:
            broken += 1
    return rows, broken


def _encloses(text: str, dialect: Dialect) -> bool:
    """Whether a quote that may be an apostrophe stands around some whole column."""
    lines = [line for line in text.split("\n")[:SAMPLE] if line.strip()]
    fields = [line.strip("\r").split(dialect.delimiter) for line in lines]
    marked = [
        len(cell.strip()) > 1 and cell.strip()[0] == cell.strip()[-1] == dialect.quote for row in fields for cell in row
    ]
    return sum(marked) >= len(lines) / 2


def _has_values(rows: Sequence[Sequence[str]]) -> bool:
    """Whether some column holds values alone, below the first record."""
    return len(rows) > 1 and any(map(all_values, zip(*rows[1:], strict=False)))
