"""Directories of tags, of which TIFF files and EXIF data are made, read without believing anything that they say."""

import struct
from typing import NamedTuple

ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
"""First bytes of the two byte orders, as `struct` calls these."""
ORIENTATION = 0x0112
PREFIX = b"Exif\0\0"
MOST_TAGS = 1024
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
"""Bytes of a value of each type."""


class Entry(NamedTuple):
    """A tag of a directory, as it stands there."""

    tag: int
    raw: bytes
    """All twelve bytes."""
    values: int
    """How many it has."""
    size: int
    """Bytes of these."""
    first: int
    """The first of them, if that is a whole number without a sign and stands in the entry itself; else 0."""
    place: int
    """Where they stand, if not in the entry itself; else 0."""


class Directory(NamedTuple):
    """Entries, and where the next directory begins, 0 for nowhere."""

    entries: list[Entry]
    following: int

    def first(self, tag: int) -> int:
        """The first value of a tag, 0 where there is none."""
        return next((entry.first for entry in self.entries if entry.tag == tag), 0)


def directory(content: bytes, order: str, at: int) -> Directory:
    """The directory at a position. Raises ValueError or struct.error if it is damaged."""
    (count,) = struct.unpack_from(f"{order}H", content, at)
    if count > MOST_TAGS:
        raise ValueError(f"a directory has {count} tags")
    entries = []
    for place in range(at + 2, at + 2 + 12 * count, 12):
        tag, kind, values = struct.unpack_from(f"{order}HHI", content, place)
        short = {1: "B", 3: "H", 4: "I"}.get(kind, "")
        size = _SIZES.get(kind, 1) * values
        first = int(struct.unpack_from(order + short, content, place + 8)[0]) if short and 0 < size <= 4 else 0
        offset = int(struct.unpack_from(f"{order}I", content, place + 8)[0]) if size > 4 else 0
        entries.append(Entry(tag, content[place : place + 12], values, size, first, offset))
    return Directory(entries, *struct.unpack_from(f"{order}I", content, at + 2 + 12 * count))


def orientation(exif: bytes) -> int:
    """How a picture lies by its EXIF data, 1 to 8; 1, upright, where they do not say or are damaged."""
    exif = exif.removeprefix(PREFIX)
    order = ORDERS.get(exif[:4])
    if order is None:
        return 1
    try:
        found = directory(exif, order, struct.unpack_from(f"{order}I", exif, 4)[0]).first(ORIENTATION)
    except (struct.error, ValueError):
        return 1
    return found if 1 <= found <= 8 else 1
