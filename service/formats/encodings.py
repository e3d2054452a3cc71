"""Content codings of bodies and answers: gzip, zstd and deflate, which is zlib's format."""

import sys
import zlib
from collections.abc import Sequence
from typing import Any

from kilter.service.problems import BAD_BODY, TOO_LARGE, WRONG_TYPE, RequestError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

ACCEPTED = "gzip, zstd, deflate, identity"
PAYS = 8 * 1024
"""Answers from this length on are compressed where the client takes that: below, it costs more than it saves."""
_NAMES = {name: name for name in ("gzip", "zstd", "deflate")} | {"": "", "identity": "", "x-gzip": "gzip"}
_WBITS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
_LEVEL = 1


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
        unpacked: Any = zstd.ZstdDecompressor() if name == "zstd" else zlib.decompressobj(_WBITS[name])
        try:
            parts.append(unpacked.decompress(content, left + 1))
        except (zlib.error, zstd.ZstdError) as error:
            raise RequestError(BAD_BODY, f"the body is no {name}, as its Content-Encoding says: {error}") from None
        left -= len(parts[-1])
        if left < 0:
            raise RequestError(
                TOO_LARGE, f"the body is longer than {limit:,} bytes once decompressed: send it in several requests"
            )
        if not unpacked.eof:
            raise RequestError(BAD_BODY, f"the body ends in the midst of its {name}: send the whole of it")
        content = unpacked.unused_data
        if not content:
            return b"".join(parts)


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
