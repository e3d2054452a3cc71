"""The encodings of text tables: found by a file's first bytes, and read.

A byte order mark decides, or the places of zero bytes, or that all is UTF-8. What is left is of one of the older
encodings of single countries, and is guessed: words in which Latin letters stand beside others are of a Western
encoding, and of the others charset-normalizer chooses.
"""

import codecs
import re
import unicodedata
from collections.abc import Iterable
from functools import cache
from itertools import islice
from typing import Protocol

from charset_normalizer import CharsetMatch, from_bytes

from kilter.service.detector.errors import KilterError

UTF_8 = "utf-8"
WESTERN = "cp1252"
BOMS: dict[bytes, str] = {
    codecs.BOM_UTF8: UTF_8,
    codecs.BOM_UTF32_LE: "utf-32-le",  # before UTF-16, whose mark it begins with
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
ODD = {"idna", "punycode", "undefined", "unicode-escape", "raw-unicode-escape", "mbcs", "oem"}
"""What Python calls encodings, and no file is written in."""
LATIN = (WESTERN, "cp1250", "cp1254")
BYTEWISE = ("cp1251", "koi8_r", "cp866", "cp1253", "cp1255", "cp1256", "cp874")
MULTIBYTE = ("gb18030", "big5", "cp932", "euc_jp", "cp949")
NAMES = {"cp1252": "windows-1252", "cp1250": "windows-1250", "cp1254": "windows-1254", "cp1251": "windows-1251"}
NAMES |= {"cp1253": "windows-1253", "cp1255": "windows-1255", "cp1256": "windows-1256", "koi8_r": "KOI8-R"}
NAMES |= {"gb18030": "GB18030", "big5": "Big5", "cp932": "Shift-JIS", "euc_jp": "EUC-JP", "cp949": "EUC-KR"}
WORD = re.compile(rb"[^\x00-\x3f]*[\x80-\xff][^\x00-\x3f]*")
"""A run of letters with at least one that is not ASCII."""
WORDS = 2_000  # most distinct words by which an encoding is guessed
RUN = re.compile(rb"[\x80-\xff]{3}")
"""Letters beyond ASCII as hardly a Western language has them; without such a run, no other is believed."""


class Readable(Protocol):
    """What gives bytes until it gives none."""

    def read(self, size: int, /) -> bytes: ...


def encoding_of_bom(head: bytes) -> tuple[bytes, str] | None:
    """The byte order mark that bytes begin with, and the encoding that it stands for; None if there is none."""
    return next(((bom, encoding) for bom, encoding in BOMS.items() if head.startswith(bom)), None)


def wide_encoding(head: bytes) -> str | None:
    """UTF-16 or UTF-32 without a mark, by where zero bytes and the ends of lines stand; None if it is neither."""
    if b"\0" not in head:
        return None
    for encoding, size in (("utf-32-le", 4), ("utf-32-be", 4), ("utf-16-le", 2), ("utf-16-be", 2)):
        zeros = [head[place::size].count(0) for place in range(size)]
        own = 0 if encoding.endswith("le") else size - 1  # the place of an ASCII letter among the bytes of its unit
        text = head[: len(head) // size * size].decode(encoding, "replace")
        if zeros[own] or "\0" in text or "\ufffd" in text[:-1]:
            continue
        if re.search(r"[\x20-\x7e]", text) and ("\n" in text or b"\n" not in head):
            return encoding
    return None


def codec_of(stated: str) -> str:
    """The name that Python has for an encoding. Raises KilterError if it knows none of that name."""
    try:
        "".encode(stated)
        name = codecs.lookup(stated).name
    except (LookupError, UnicodeError, ValueError):
        name = None
    if name is None or name in ODD:
        known = ", ".join(("utf-8", "utf-16", "utf-32", *NAMES.values()))
        raise KilterError(f"there is no encoding {stated[:40]!r}: name one like {known}")
    return name


@cache
def is_line_by_line(encoding: str) -> bool:
    """Whether the lines of a text can be told apart, and ASCII be read, without decoding it."""
    ascii_bytes = bytes(range(128))
    try:
        return all(bytes([byte]).decode(encoding) == chr(byte) for byte in ascii_bytes)
    except UnicodeError:
        return False


def legacy_encoding(head: bytes, names: Iterable[str] = ()) -> str:
    """The likeliest encoding of a text that is no UTF-8; one in which all `names` occur, if there are such."""
    wanted = [name for name in names if not name.isascii()]
    if wanted:
        for encoding in (*LATIN, *BYTEWISE, *MULTIBYTE):
            encoded = [name.encode(encoding, "ignore") for name in wanted]
            if all(name in head and not name.isascii() for name in encoded):
                return encoding
    words = [*islice(dict.fromkeys(match[0] for match in WORD.finditer(head)), WORDS)]
    text = b"\n".join(words)
    beyond = sum(byte >= 0x80 for byte in text)
    if sum(chr(byte).isalpha() for byte in text if byte < 0x80) >= beyond:
        return min(LATIN, key=lambda encoding: _oddity(text, encoding))
    if RUN.search(text) is None:
        return WESTERN
    matches = from_bytes(text + b"\n", cp_isolation=[*BYTEWISE, *MULTIBYTE])
    return min(matches, key=_rank).encoding if len(matches) else WESTERN


def _rank(match: CharsetMatch) -> tuple[float, float, float]:
    """How little speaks for an encoding, first by disorder, then by language, then by letters in odd places."""
    return round(match.chaos, 1), -round(match.coherence, 1), _oddity(str(match).encode(), UTF_8)


def _oddity(text: bytes, encoding: str) -> float:
    """The share of characters that seldom stand within words: signs, capitals after letters, half-width kana."""
    decoded = text.decode(encoding, "replace")
    odd = sum(
        unicodedata.category(char)[0] not in "LMZC"
        or (char.isupper() and before.isalpha())
        or "\uff61" <= char <= "\uff9f"
        for before, char in zip("\n" + decoded, decoded, strict=False)
        if char > "\x7f"
    )
    return odd / max(1, len(decoded))


def decode_text(line: bytes, encoding: str = WESTERN) -> str:
    """The text of a line: UTF-8 or, where it is not that, of an encoding, or Latin-1, each line for itself."""
    try:
        return line.decode()
    except UnicodeDecodeError:
        try:
            return line.decode(WESTERN if encoding == UTF_8 else encoding)
        except UnicodeDecodeError:
            return line.decode("latin-1")


def decode_lines(data: bytes, encoding: str = WESTERN, *, mixed: bool = True) -> str:
    """The text of many lines, each decoded for itself: as UTF-8 where it is that if they are `mixed`.

    Otherwise all of them are of the encoding, and what does not belong to it becomes U+FFFD.
    """
    if not mixed:
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            return "\n".join(line.decode(encoding, "replace") for line in data.split(b"\n"))
    try:
        return data.decode()
    except UnicodeDecodeError:
        return "\n".join(decode_text(line, encoding) for line in data.split(b"\n"))


class RecodedStream:
    """The bytes of a source of an encoding that is not read line by line, or of other line ends, as UTF-8."""

    def __init__(self, source: Readable, name: str, encoding: str, *, returns: bool = False) -> None:
        """With `returns`, lines end in a carriage return alone. `name` is that of the source, for messages."""
        self._source = source
        self._name = name
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._encoding = encoding
        self._returns = returns

    def read(self, size: int, /) -> bytes:
        """Some UTF-8 bytes, none at the end. Raises KilterError if the bytes are not of the encoding."""
        try:
            while block := self._source.read(size):
                if text := self._decoder.decode(block):
                    return self._lines(text).encode()
            self._decoder.decode(b"", final=True)
        except UnicodeError as error:
            raise KilterError(f"{self._name} is not valid {self._encoding.upper()}: {error}") from None
        return b""

    def _lines(self, text: str) -> str:
        if not self._returns:
            return text
        if "\n" in text:
            raise KilterError(
                f"lines of {self._name} end in a carriage return alone at first, and later in a line feed: convert "
                "them to line feeds"
            )
        return text.replace("\r", "\n")
