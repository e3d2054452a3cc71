"""Ranges of a large file: consecutive records that are judged by themselves, whoever judges the others.

A range begins and ends where a block of the whole file does, so that its records come together as they do there.
"""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import msgspec

RANGE = 1 << 27
"""Bytes from which on a file is cut, and about the most that a range has."""


class FileRange(msgspec.Struct, frozen=True):
    """Some consecutive blocks of a file."""

    number: int
    """From 0, among the ranges of the file."""
    row: int
    """The place of its first record in the file, from 0; the number of its records, and of its blocks."""
    rows: int
    blocks: int
    start: int
    """Where it begins in the file, and its length, in bytes; an estimate for what is stored by columns."""
    bytes: int
    state: dict[str, Any] = {}
    """What else a reader of the format must know to begin there, as JSON has it."""


class RangePoint(NamedTuple):
    """Where a range can begin or end: before a block, or after the last one."""

    start: int
    """In bytes, records and blocks, from the beginning of the file."""
    row: int
    block: int
    state: dict[str, Any]


def even_size(whole: int) -> int:
    """About how many bytes of so many each range has, so that all have as many."""
    count = max(1, -(-whole // RANGE))
    return -(-whole // count)


def ranges_between(points: Iterable[RangePoint], size: int) -> Iterator[FileRange]:
    """Ranges of about so many bytes; the points are all that there are, in order, the end of the file included."""
    first: RangePoint | None = None
    last: RangePoint | None = None
    number = 0
    for point in points:
        if first is None:
            first = point
        elif point.start - first.start >= size and point.block > first.block:
            yield _range(number, first, point)
            first, number = point, number + 1
        last = point
    if first is not None and last is not None and last.block > first.block:
        yield _range(number, first, last)


def _range(number: int, first: RangePoint, end: RangePoint) -> FileRange:
    counts = end.row - first.row, end.block - first.block
    return FileRange(number, first.row, *counts, first.start, end.start - first.start, first.state)
