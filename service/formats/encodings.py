"""Content codings of bodies and answers: gzip, zstd and deflate, which is zlib's format."""

import sys
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from kilter.service.problems import BAD_BODY, TOO_LARGE, WRONG_TYPE, RequestError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from kilter.service.formats.charsets import Readable

ACCEPTED = "gzip, zstd, deflate, identity"
PAYS = 8 * 1024
"""Answers from this length on are compressed where the client takes that: below, it costs more than it saves."""
_NAMES = {name: name for name in ("gzip", "zstd", "deflate")} | {"": "", "identity": "", "x-gzip": "gzip"}
_WBITS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
_LEVEL = 1
PIECE = 1 << 16  # compressed bytes that are read at a time


def coding(stated: str) -> str:
    """`gzip`, `zstd`, `deflate`, or an empty string for none. Raises RequestError for any other."""
    name = _NAMES.get(stated.strip().lower())
    if name is None:
        raise RequestError(
            WRONG_TYPE,
            f"the body is encoded as {stated[:40]!r}: send it as gzip, zstd or deflate, or plain, without "
            "Content-Encoding",
            headers={"Accept-Encoding": ACCEPTED},
        )
    return name


def decompress(content: bytes, name: str, limit: int) -> bytes:
    """The bytes that were compressed, in one member or frame or several; never more than `limit` are made.

    Raises RequestError if they are more, or the compressed ones are damaged or end early.
    """
    parts: list[bytes] = []
    left = limit
    while True:
        unpacked = _decompressor(name)
        try:
            parts.append(unpacked.decompress(content, left + 1))
        except (zlib.error, zstd.ZstdError) as error:
            raise _no_coding(name, error) from None
        left -= len(parts[-1])
        if left < 0:
            raise RequestError(
                TOO_LARGE, f"the body is longer than {limit:,} bytes once decompressed: send it in several requests"
            )
        if not unpacked.eof:
            raise _cut(name)
        content = unpacked.unused_data
        if not content:
            return b"".join(parts)


class Unpacker:
    """Decompresses a stream while it is read: `read` gives so many bytes, fewer only at the end."""

    def __init__(self, stream: "Readable", name: str) -> None:
        self._stream = stream
        self._name = name
        self._unpacked: Any = None
        self._packed = b""
        self._full = False
        """Whether the last piece was as long as it might be, so that there may be more of it."""

    def read(self, size: int, /) -> bytes:
        """Raises RequestError if what is compressed is damaged or ends early."""
        parts: list[bytes] = []
        while size:
            if not self._packed and not self._full:
                self._packed = self._stream.read(PIECE)
                if not self._packed:
                    if self._unpacked is not None:
                        raise _cut(self._name)
                    break
            self._unpacked = self._unpacked or _decompressor(self._name)
            try:
                part = self._unpacked.decompress(self._packed, size)
            except (zlib.error, zstd.ZstdError) as error:
                raise _no_coding(self._name, error) from None
            self._packed = b"" if self._name == "zstd" else self._unpacked.unconsumed_tail
            self._full = len(part) == size
            if self._unpacked.eof:
                self._packed, self._unpacked, self._full = self._unpacked.unused_data, None, False
            parts.append(part)
            size -= len(part)
        return b"".join(parts)


class Packer:
    """Compresses a stream while it is written: what goes in can be read from what has come out."""

    def __init__(self, name: str) -> None:
        self._zstd = zstd.ZstdCompressor(_LEVEL) if name == "zstd" else None
        self._zlib = None if name == "zstd" else zlib.compressobj(_LEVEL, wbits=_WBITS[name])

    def pack(self, content: bytes) -> bytes:
        if self._zstd is not None:
            return self._zstd.compress(content, zstd.ZstdCompressor.FLUSH_BLOCK)
        assert self._zlib is not None  # noqa: S101
        return self._zlib.compress(content) + self._zlib.flush(zlib.Z_SYNC_FLUSH)

    def finish(self) -> bytes:
        """What stands at the end."""
        if self._zstd is not None:
            return self._zstd.flush()
        assert self._zlib is not None  # noqa: S101
        return self._zlib.flush()


def _decompressor(name: str) -> Any:
    """What decompresses one member or frame."""
    return zstd.ZstdDecompressor() if name == "zstd" else zlib.decompressobj(_WBITS[name])


def _no_coding(name: str, error: Exception) -> RequestError:
    """The error for a body that is damaged."""
    return RequestError(BAD_BODY, f"the body is no {name}, as its Content-Encoding says: {error}")


def _cut(name: str) -> RequestError:
    """The error for a body that is cut."""
    return RequestError(BAD_BODY, f"the body ends in the midst of its {name}: send the whole of it")


def chosen(accepted: str, offered: Sequence[str] = ("zstd", "gzip")) -> str:
    """The first coding offered that a request's `Accept-Encoding` takes for an answer, or an empty string for none."""
    taken = set()
    for item in accepted.lower().split(","):
        name, _, parameters = item.partition(";")
        weight = parameters.replace(" ", "").removeprefix("q=")
        if not weight.strip("0.") and weight:
            continue
        taken.add(name.strip().removeprefix("x-"))
    return next((name for name in offered if name in taken), "")


def compress(content: bytes, name: str) -> bytes:
    """Compress an answer in a coding."""
    if name == "zstd":
        return zstd.compress(content, _LEVEL)
    packer = zlib.compressobj(_LEVEL, wbits=_WBITS[name])
    return packer.compress(content) + packer.flush()
