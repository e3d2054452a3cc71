"""The bytes of a file or of standard input, decompressed, and what kind of table they hold.

Content decides, never the ending of a name: a Parquet file called `data.csv` is read as Parquet, with a note.
"""

import bz2
import gzip
import lzma
import os
import sys
import tempfile
import zlib
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from kilter.service.detector.errors import KilterError
from kilter.service.formats import GZIP, NPY, ZIP, Format, format_named, format_of_content, format_of_ending
from kilter.service.formats.addresses import Address, Place, RemoteFile, place_of
from kilter.service.formats.charsets import Readable, encoding_of_bom, wide_encoding
from kilter.service.formats.contents import ContentHash, ContentRead
from kilter.service.formats.ranges import FileRange

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

STDIN = "-"
HEAD = 1 << 18  # number of bytes that decide what a file is
PACKED: dict[bytes, Callable[..., Any]] = {
    GZIP: gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\0": lzma.open,
    b"\x28\xb5\x2f\xfd": zstd.open,
}
FOREIGN = {
    b"%PDF": "a PDF document",
    b"\x89PNG": "an image",
    b"\xff\xd8\xff": "an image",
    b"SQLite format 3": "an SQLite database",
    NPY: "a bare NumPy array: save it with numpy.savez(file, X=array)",
    b"\xd0\xcf\x11\xe0": "an Excel workbook",
    b"<!DOCTYPE": "a web page",
    b"<html": "a web page",
    b"[[": "JSON of lists: write it as a list of objects, [{...}, ...]",
}
REMEDY = "Kilter reads CSV, Parquet, Arrow, npz, JSON and NDJSON"
CONTROL = bytes([*range(1, 9), *range(14, 27), *range(28, 32), 127])
SEPARATORS = 2  # control characters that a text table may be made with: one between fields, one for anything else


class Hints(NamedTuple):
    """What is known of a text table before it is read; what is None is found."""

    delimiter: str | None = None
    encoding: str | None = None
    header: bool | None = None
    """Whether there is a header line."""
    names: tuple[str, ...] = ()
    """Columns that it should have: where a line names them all, that is the header."""
    stated: Format | None = None
    """The format that a body is said to have, which is read once, while it comes; None for what is no body."""
    part: FileRange | None = None
    """The range of the file that is read; None of all."""


NO_HINTS = Hints()


class Source:
    """A file opened for reading: `read` gives its bytes, decompressed; `head` the first of them without taking them."""

    def __init__(
        self,
        path: str | Place,
        stdin: BinaryIO | None = None,
        stdin_name: str = "standard input",
        hints: Hints = NO_HINTS,
    ) -> None:
        """Open `path`, or `stdin` for `-`. Raises KilterError if it is not there, empty, or no table at all."""
        self.path = None if str(path) == STDIN else place_of(path)
        self.hints = hints
        self.name = stdin_name if self.path is None else str(path)
        self._files = ExitStack()
        self._waiting = b""
        self._file: BinaryIO | RemoteFile | None = None
        self._content: ContentHash | None = None
        self._any_order = False
        self._stream: Readable = self._open(stdin)
        try:
            self.packed = self._unpack()
            self.format = self._format()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close every file that was opened."""
        self._files.close()

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person may want to know about how the file is read."""
        suffixes = self.path.suffixes[-2:] if self.path else []
        stated = format_of_ending(suffixes)
        if stated is None or any(suffix.lower() in self.format.endings for suffix in suffixes):
            return ()
        return (f"{self.name} is {self.format.title}, whatever its ending says, and is read as one",)

    @property
    def share(self) -> float:
        """The share of a file that is read, by its bytes as they are stored; 0 of a stream."""
        if isinstance(self._file, RemoteFile):
            return self._file.tell() / self._file.facts.size if self._file.facts.size else 0.0
        if self._file is None or not self._file.seekable():
            return 0.0
        return self._file.tell() / max(1, os.fstat(self._file.fileno()).st_size)

    def content(self, *, final: bool) -> ContentRead:
        """What was read of a file, as it is stored: its first bytes, or all if it is read in any order, or `final`.

        Of a stream nothing is known. Raises KilterError if it cannot be read again.
        """
        if isinstance(self._file, RemoteFile):
            return self._file.content(final=final)
        if not isinstance(self.path, Path) or self._file is None or not self.path.is_file():
            return ContentRead()
        try:
            if self._content is None:
                self._content = self._files.enter_context(closing(ContentHash(self.path)))
            return self._content.up_to(None if final or self._any_order else self._file.tell())
        except OSError as error:
            raise KilterError(f"{self.name} cannot be read: {error.strerror or error}") from None

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes, none at the end. Raises KilterError if compressed data are damaged."""
        if self._waiting:
            taken, self._waiting = self._waiting[:size], self._waiting[size:]
            return taken
        return self._read(size)

    def head(self, size: int = HEAD) -> bytes:
        """The first `size` bytes, or all there are, left to be read."""
        while len(self._waiting) < size and (more := self._read(size - len(self._waiting))):
            self._waiting += more
        return self._waiting[:size]

    @property
    def lies_open(self) -> bool:
        """Whether the bytes that are read are those of a file of this machine, which can be read in any order."""
        return isinstance(self.path, Path) and not self.packed and self.path.is_file()

    @property
    def is_divisible(self) -> bool:
        """Whether ranges of it may be read by themselves."""
        return self.format.divisible and self.lies_open

    def go_to(self, position: int) -> None:
        """Read on from so many bytes of a file that lies open."""
        if isinstance(self._file, RemoteFile) or self._file is None or self.packed:
            raise TypeError("it does not lie open")
        self._file.seek(position)
        self._waiting = b""

    def seekable_path(self) -> Path:
        """A path from which the decompressed bytes can be read in any order, until `close`."""
        if isinstance(self.path, Path) and self.lies_open:
            self._any_order = True
            return self.path
        spool = self._files.enter_context(tempfile.NamedTemporaryFile(prefix="kilter-"))  # noqa: SIM115
        while block := self.read(1 << 20):
            spool.write(block)
        spool.flush()
        return Path(spool.name)

    def _open(self, stdin: BinaryIO | None) -> Readable:
        if self.path is None:
            return stdin or sys.stdin.buffer
        try:
            if isinstance(self.path, Address):
                self._file = self._files.enter_context(self.path.open_file())
            else:
                self._file = self._files.enter_context(self.path.open("rb"))
        except FileNotFoundError:
            raise KilterError(f"there is no file {self.name}") from None
        except IsADirectoryError:
            raise KilterError(f"{self.name} is a folder: name a file") from None
        return self._file

    def _unpack(self) -> bool:
        head = self.head(8)
        opener = next((PACKED[magic] for magic in PACKED if head.startswith(magic)), None)
        if opener is not None:
            self._stream = self._files.enter_context(opener(_Chained(self._waiting, self._stream)))
            self._waiting = b""
        return opener is not None

    def _format(self) -> Format:
        head = self.head()
        if not head:
            raise KilterError(f"{self.name} is empty: a table has a header and rows")
        known = format_of_content(head)
        if self.hints.stated is not None and (self.packed or (known or format_named("csv")) is not self.hints.stated):
            text = f"{self.name} is compressed, or not {self.hints.stated.title}: send it as its Content-Type says"
            raise KilterError(text)
        if known is not None:
            return known
        if head.startswith(ZIP):
            raise KilterError(f"{self.name} is a zip archive or an Excel workbook, and no table: {REMEDY}")
        for magic, what in FOREIGN.items():
            if head.lstrip()[: len(magic)] == magic:
                raise KilterError(f"{self.name} is no table but {what}; {REMEDY}")
        if self.hints.encoding is None and encoding_of_bom(head) is None and wide_encoding(head) is None:
            kinds = {byte for byte in CONTROL if byte in head}
            odd = len(head) - len(head.translate(None, CONTROL))
            if b"\0" in head or (len(kinds) > SEPARATORS and odd > len(head) / 200):
                raise KilterError(f"{self.name} holds binary data that are no table: {REMEDY}")
        return format_named("csv")

    def _read(self, size: int) -> bytes:
        try:
            return self._stream.read(size)
        except (EOFError, zlib.error, lzma.LZMAError, zstd.ZstdError) as error:
            raise KilterError(f"{self.name} is damaged or cut short: {error}") from None
        except OSError as error:
            raise KilterError(f"{self.name} cannot be read, or is damaged: {error.strerror or error}") from None


class _Chained:
    """Bytes already taken from a stream, then the stream."""

    def __init__(self, first: bytes, rest: Readable) -> None:
        self._first = first
        self._rest = rest

    def read(self, size: int = -1, /) -> bytes:
        if self._first:
            taken, self._first = (self._first, b"") if size < 0 else (self._first[:size], self._first[size:])
            return taken
        return self._rest.read(size)
