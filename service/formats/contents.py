"""What was read of a file, by which a run that is continued knows whether it is still the same."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

CHUNK = 1 << 22


class ContentRead(msgspec.Struct, frozen=True):
    """So many first bytes of a file, by their SHA-256; of a folder all. Without that nothing is known of them."""

    bytes: int = 0
    sha256: str = ""


class ContentHash:
    """Reads a file behind someone who reads it, out of the memory of the system, and hashes it as far as it is read."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self._hash = hashlib.sha256()
        self._bytes = 0

    def close(self) -> None:
        self._file.close()

    def up_to(self, position: int | None) -> ContentRead:
        """The bytes up to a position, which never goes back; all if there is none. Raises OSError."""
        for chunk in _chunks(self._file, None if position is None else position - self._bytes):
            self._hash.update(chunk)
            self._bytes += len(chunk)
        return ContentRead(self._bytes, self._hash.hexdigest())


def _chunks(file: BinaryIO, size: int | None) -> Iterator[bytes]:
    """The next bytes of a file, so many or all."""
    while chunk := file.read(CHUNK if size is None else min(CHUNK, size)):
        yield chunk
        size = None if size is None else size - len(chunk)
