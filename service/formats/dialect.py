"""How a text table is written: delimiter, encoding, line ending; and how bytes become text."""

import codecs
import csv
from collections import Counter
from typing import Literal, NamedTuple

from kilter.service.detector.errors import KilterError
from kilter.service.formats.source import Readable

DELIMITERS = ",;\t|"
SAMPLE = 200
"""Number of records on which the delimiter is decided."""
Encoding = Literal["utf-8", "utf-16-le", "utf-16-be"]
BOMS: dict[bytes, Encoding] = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}


class Dialect(NamedTuple):
    """What a reader must know of a text table, and a writer to continue it."""

    delimiter: str = ","
    encoding: Encoding = "utf-8"
    """`utf-8` without a byte order mark stands for any ASCII superset: see `decode`."""
    bom: bytes = b""
    newline: bytes = b"\n"


def sniff(head: bytes, name: str) -> Dialect:
    """The dialect of a text table, from its first bytes. Raises KilterError if lines end as on no current system."""
    bom, encoding = next(((bom, BOMS[bom]) for bom in BOMS if head.startswith(bom)), (b"", "utf-8"))
    text = (
        decode(head[len(bom) :]) if encoding == "utf-8" else head[2:].decode(encoding, errors="ignore")  # a cut end
    )
    if "\n" not in text and "\r" in text.rstrip("\r"):
        raise KilterError(f"the lines of {name} end in a carriage return alone: convert them to line feeds")
    newline = b"\r\n" if "\r\n" in text.partition("\n")[0] + "\n" else b"\n"
    complete = text.rpartition("\n")[0] or text
    return Dialect(sniff_delimiter(complete), encoding, bom, newline)


def sniff_delimiter(text: str) -> str:
    """The delimiter with which most records have as many fields as the header, and that as many as possible.

    A table of one column gets one that does not occur in it.
    """
    best, best_rank = "", (0.0, 0)
    for delimiter in DELIMITERS:
        counts = _field_counts(text, delimiter)
        if counts and counts[0] > 1:
            share = Counter(counts)[counts[0]] / len(counts)
            rank = (round(share, 2), counts[0])
            if rank > best_rank:
                best, best_rank = delimiter, rank
    return best or next((delimiter for delimiter in DELIMITERS if delimiter not in text), ",")


def _field_counts(text: str, delimiter: str) -> list[int]:
    counts: list[int] = []
    try:
        for record in csv.reader((line + "\n" for line in text.split("\n")), delimiter=delimiter):
            if record:
                counts.append(len(record))
            if len(counts) == SAMPLE:
                break
    except csv.Error:
        pass
    return counts


def decode(line: bytes) -> str:
    """The text of a line: UTF-8 or, where it is not that, Windows-1252 or Latin-1, each line for itself."""
    try:
        return line.decode()
    except UnicodeDecodeError:
        try:
            return line.decode("cp1252")
        except UnicodeDecodeError:
            return line.decode("latin-1")


def decode_lines(data: bytes) -> str:
    """The text of many lines, each decoded for itself."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return "\n".join(map(decode, data.split(b"\n")))


class Utf16Stream:
    """A UTF-16 stream, its byte order mark already taken, given as UTF-8."""

    def __init__(self, stream: Readable, encoding: Encoding, name: str) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._encoding = encoding
        self._name = name

    def read(self, size: int, /) -> bytes:
        """Some UTF-8 bytes, none at the end. Raises KilterError if the bytes are no UTF-16."""
        try:
            while block := self._stream.read(size):
                if text := self._decoder.decode(block):
                    return text.encode()
            self._decoder.decode(b"", final=True)
        except UnicodeError as error:
            raise KilterError(f"{self._name} is not valid {self._encoding.upper()}: {error}") from None
        return b""
