"""What is found in the first bytes of a text table: its encoding, its dialect, its header, and what is none of them."""

import codecs
import io
import re
from collections.abc import Sequence
from typing import NamedTuple

from kilter.service.detector.errors import KilterError
from kilter.service.formats.charsets import (
    BOMS,
    MULTIBYTE,
    NAMES,
    UTF_8,
    codec_of,
    encoding_of_bom,
    is_line_by_line,
    legacy_encoding,
    wide_encoding,
)
from kilter.service.formats.dialects import DELIMITERS, SAMPLE, delimiter_of, shown_delimiter, sniff
from kilter.service.formats.heading import (
    Heading,
    could_be_header,
    find_heading,
    has_names,
    is_value,
    stands_above,
    usual_width,
)
from kilter.service.formats.oddities import Oddities
from kilter.service.formats.reading import check_columns
from kilter.service.formats.records import Dialect, Record, lengthened, split_records
from kilter.service.formats.source import NO_HINTS, Hints

REMEDY = "if there is no header line, say so with --no-header"
COMMENTS = ("#", "%", "//", "--", "!")
ANNOTATIONS = ("#datatype", "#group", "#default")
STATED = re.compile(r'"?sep=(.)"?', re.IGNORECASE)
LINES = 300  # most lines among which the sample is taken
LOOSE = re.compile(r"\S(\s{2,}|\s*[,;|^~\t]\s*)\S")
"""What parts a line, if it does not hold a single name."""
SHOWN = 30  # letters of a line that a note shows


class Preamble(NamedTuple):
    """What stands before the first line of a table that could be a header or a record."""

    lines: int = 0
    """Number of lines: blank ones, comments, and one that names the delimiter."""
    delimiter: str | None = None
    comments: tuple[str, ...] = ()
    """The comments right before that line, without a blank line between them."""
    mark: str = ""
    """What the first comment begins with, if there is one."""


class Beginning(NamedTuple):
    """All that a reader must know before it reads the records."""

    dialect: Dialect
    columns: tuple[str, ...]
    header: bytes
    """The header's own bytes, with as many fields as a record; made up where there is none."""
    offset: int
    """Where the first record begins."""
    line: int
    """Its number, from 1."""
    sample: Sequence[Sequence[str]]
    """The fields of the first records, below the header."""
    oddities: Oddities
    remarks: tuple[str, ...]
    """What is not plain, in parts of a sentence."""
    notes: tuple[str, ...] = ()
    """Doubts, in sentences."""


def find_charset(head: bytes, hints: Hints = NO_HINTS) -> Dialect:
    """The encoding and the line ends of a text table, by its first bytes, in an otherwise plain dialect."""
    bom, encoding = encoding_of_bom(head) or (b"", wide_encoding(head) or UTF_8)
    mixed = True
    if hints.encoding is not None:
        stated = codec_of(hints.encoding).removesuffix("-sig")
        if not encoding.startswith(stated):  # as UTF-16 stands for any of its two byte orders
            encoding = f"{stated}-le" if stated in ("utf-16", "utf-32") else stated
        bom, mixed = (bom if BOMS.get(bom) == encoding else b""), encoding == UTF_8
    elif encoding == UTF_8 and not _is_utf_8(head):
        encoding = legacy_encoding(head, hints.names)
        mixed = encoding not in MULTIBYTE
    dialect = Dialect(encoding=encoding, bom=bom, mixed=mixed)
    body = head[len(bom) :]
    text = dialect.decoded(body) if is_line_by_line(encoding) else body.decode(encoding, "ignore")  # a cut end
    if "\n" not in text and "\r" in text.rstrip("\r"):
        return dialect._replace(newline=b"\r")
    return dialect._replace(newline=b"\r\n" if "\r\n" in text.partition("\n")[0] + "\n" else b"\n")


def _is_utf_8(head: bytes) -> bool:
    """Whether most lines that are not ASCII are UTF-8; the last line may be cut."""
    *lines, last = head.split(b"\n")
    good = [_decodes(line) for line in lines if not line.isascii()]
    if not last.isascii():
        good.append(_decodes(last, cut=True))
    return 2 * sum(good) >= len(good)


def _decodes(line: bytes, *, cut: bool = False) -> bool:
    try:
        codecs.getincrementaldecoder(UTF_8)().decode(line, final=not cut)
    except UnicodeDecodeError:
        return False
    return True


def find_preamble(text: str) -> Preamble:
    """The preamble of a text; none where all of it would be one."""
    delimiter: str | None = None
    comments: list[str] = []
    mark = ""
    for number, line in enumerate(io.StringIO(text, newline="\n")):
        content = line.strip("\r\n")
        stated = STATED.fullmatch(content)
        if stated and not number:
            delimiter = stated[1]
        elif content.startswith(COMMENTS):
            comments.append(content)
            mark = mark or _mark(content)
        elif content:
            return Preamble(number, delimiter, tuple(comments), mark)
        else:
            comments.clear()
    return Preamble()


def find_beginning(
    data: bytes, charset: Dialect, name: str, hints: Hints = NO_HINTS, *, final: bool = True
) -> Beginning:
    """Where the records of a table begin, and how they are written, by its first bytes without a byte order mark.

    Of recoded tables `data` is UTF-8; with `final` they are all that there is. Raises KilterError if there is no
    header that can be read, or it names a column twice.
    """
    complete = data if final else data[: data.rfind(b"\n") + 1]
    preamble = find_preamble(charset.decoded(complete))
    stated = delimiter_of(hints.delimiter) if hints.delimiter else preamble.delimiter
    lines = complete.split(b"\n")
    sampled = lines[preamble.lines : preamble.lines + LINES]
    written = sniff(charset.decoded(b"\n".join(sampled)), stated, hints.names)
    dialect = charset._replace(
        delimiter=written.delimiter, quote=written.quote, escape=written.escape, padded=written.padded
    )
    skipped, known = preamble.lines, hints.header
    records = _records(lines[skipped:], dialect, skipped)
    if preamble.comments and _is_header(preamble.comments[-1], records, dialect, hints):
        skipped, known = skipped - 1, True
        records = _records(lines[skipped:], dialect, skipped)
    readable = [record for record in records if record.fields is not None]
    if not readable:
        raise KilterError(f"{name} has no header in its first lines: a table has a header and rows")
    if records[0].fields is None:
        raise KilterError(f"the header of {name} cannot be read: a quote in it is never closed")
    rows = [record.fields or [] for record in readable]
    heading = find_heading(rows, hints.names, known)
    dialect = dialect._replace(surplus=heading.surplus)
    columns = check_columns(name, heading.columns, REMEDY)
    text, fields = b"", columns[:0]
    sample = rows[heading.first :]
    if heading.header is None:
        top = readable[heading.first]
        begins, own = top.line, dialect.delimiter.join(columns)
        header = own.encode(UTF_8 if dialect.recoded else dialect.encoding)
        header += b"\n" if dialect.recoded else dialect.newline
    else:
        top = readable[heading.header]
        begins = top.line + top.raw.count(b"\n")
        text, fields = top.raw.rstrip(b"\r\n"), tuple(rows[heading.header][: len(columns)])
        header = _fitted(top.raw, heading.missing, dialect)
        if heading.row_names:
            header = f"{columns[0]}{dialect.delimiter}".encode(UTF_8 if dialect.recoded else dialect.encoding) + header
            fields = ()  # it has not as many fields as a record, should it come again
    mark = "" if known and not hints.header and len(preamble.comments) == 1 else preamble.mark
    oddities = Oddities(fields, text, mark, readable[heading.first].line if heading.units else 0)
    offset = sum(len(line) + 1 for line in lines[: top.line - 1]) + (0 if heading.header is None else len(top.raw))
    remarks = _remarks(dialect, heading, stated, lines[: top.line - 1], hints)
    notes: tuple[str, ...] = ()
    if heading.header is not None and hints.header is None and all(map(is_value, columns)):
        notes = (f"the first line of {name} holds numbers alone and is taken for the header: {REMEDY}",)
    if len(columns) == 1 and (stated or hints.delimiter) is None and LOOSE.search(columns[0]):
        notes += (
            f"{name} is read as one column, {columns[0]!r}: if it has several, say what delimits them with --delimiter",
        )
    return Beginning(dialect, columns, header, offset, begins, sample, oddities, remarks, notes)


def _records(lines: Sequence[bytes], dialect: Dialect, skipped: int) -> list[Record]:
    """The first records of lines, of which so many were skipped before."""
    records, _ = split_records(b"\n".join(lines[:LINES]), dialect, skipped + 1, final=True)
    return records[: SAMPLE + 1]


def _mark(comment: str) -> str:
    return next(mark for mark in COMMENTS if comment.startswith(mark))


def _is_header(comment: str, records: Sequence[Record], dialect: Dialect, hints: Hints) -> bool:
    """Whether the last comment before the records is their header, as `#id,name` is."""
    rows = [record.fields for record in records if record.fields]
    fields: list[str] = next(dialect.rows(iter([comment + "\n"])), [])
    if hints.header is False or comment.startswith(ANNOTATIONS) or not rows:
        return False
    if hints.names:
        return has_names(fields, hints.names) or not any(has_names(row, hints.names) for row in rows)
    if len(fields) != usual_width(rows) or len(fields) < 2 or not could_be_header(fields):
        return False
    if stands_above(rows[0], rows[1:]):
        return False
    return not could_be_header(rows[0]) or not re.search(r"\s", "".join(fields))


def _fitted(raw: bytes, missing: int, dialect: Dialect) -> bytes:
    """A header with so many more fields at its end, or fewer."""
    if missing >= 0:
        return lengthened(raw, missing, dialect)
    body = raw.rstrip(b"\r\n")
    delimiter = dialect.delimiter.encode(UTF_8 if dialect.recoded else dialect.encoding)
    short = body.rstrip(b" ") if delimiter != b" " else body
    return short[: len(short) + missing * len(delimiter)] + raw[len(body) :]


def _remarks(
    dialect: Dialect, heading: Heading, stated: str | None, above: Sequence[bytes], hints: Hints
) -> tuple[str, ...]:
    """What is not plain about a table, in parts of a sentence."""
    remarks: list[str] = []
    if stated is None and dialect.delimiter not in DELIMITERS:
        remarks.append(f"with the delimiter {shown_delimiter(dialect.delimiter)}")
    if dialect.quote != '"':
        remarks.append(f"with {dialect.quote} for quotes")
    if dialect.escape:
        remarks.append(f"with {dialect.escape} before a quote within quotes")
    if hints.encoding is None:
        remarks += encoding_remark(dialect)
    if dialect.newline == b"\r":
        remarks.append("with lines that end in a carriage return alone")
    titles = [text for line in above if (text := dialect.decoded(line).strip())]
    if titles:
        shown = titles[0] if len(titles[0]) <= SHOWN else f"{titles[0][:SHOWN]} ..."
        remarks.append(f"from line {len(above) + 1} on, without what stands above it, first {shown!r}")
    if heading.header is None and hints.header is None:
        first, last = heading.columns[0], heading.columns[-1]
        names = f"its columns being called {first} to {last}" if first != last else f"its column being called {first}"
        remarks.append(
            f"without a header, {names}, since its first line looks like the others (--header says that it is one)"
        )
    if heading.row_names:
        remarks.append(f"with {heading.columns[0]!r} for the first field, which the header does not name")
    if heading.surplus or heading.missing < 0:
        remarks.append("without the empty fields at the end of its lines")
    if not (heading.row_names or heading.header is None) and any(
        name.startswith("column_") for name in heading.columns
    ):
        remarks.append("with names column_1, column_2, ... for columns whose names are empty")
    return tuple(remarks)


def encoding_remark(dialect: Dialect) -> list[str]:
    """A part of a sentence about an encoding that no mark states, unless it is UTF-8."""
    if dialect.encoding == UTF_8 or dialect.bom:
        return []
    name = NAMES.get(dialect.encoding, dialect.encoding.upper())
    return [f"as {name}, as its bytes suggest (--encoding states another)"]
