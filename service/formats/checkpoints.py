"""The journal of an output: lines that say how far everything is, once what they tell of is on the disk."""

from collections.abc import Iterator
from pathlib import Path

import msgspec

from kilter.service.formats.contents import ContentRead
from kilter.service.formats.counting import ScoredInput, Tally
from kilter.service.formats.ranges import FileRange


class FinishedOutput(msgspec.Struct, frozen=True):
    """An output of one input that was made by itself, whatever became of those before it."""

    output: int
    """Its place, and the number of inputs that are done once it and all outputs before it are."""
    done: int
    file: str
    """Where it is in the folder until it has its name: alone in a folder of its own."""
    input: ScoredInput
    tally: Tally


class FinishedPart(msgspec.Struct, frozen=True):
    """What was made of a range of an input."""

    place: int
    """That of the input."""
    range: FileRange
    content: ContentRead
    """All of the input, in which the range is."""
    folder: str
    """Where it is: a folder in that of the journal."""
    tally: Tally
    wide: tuple[str, ...] = ()
    """See `OutputPart`."""
    types: dict[str, str] = {}
    """See `Writer`."""

    @property
    def name(self) -> str:
        """It, by its input and the place of its first record there."""
        return f"{self.place:06d}-{self.range.row:015d}"


class Checkpoint(msgspec.Struct, frozen=True):
    """A line of the journal: how far everything is."""

    output: int = 0
    """Number of outputs that are complete."""
    inputs: tuple[ScoredInput, ...] = ()
    """Those that have become so since the line before."""
    done: int = 0
    """Number of inputs that are."""
    blocks: int = 0
    """Number of blocks of the next input that are judged."""
    size: int = 0
    """Bytes of the output that is written."""
    parts: int = 0
    """Its parts, of a format that is put together at the end."""
    wide: tuple[str, ...] = ()
    """See `OutputPart`."""
    tally: Tally = Tally()
    """Of all that is judged."""
    own: Tally = Tally()
    """Of the next input."""
    rejects: int = 0
    """Bytes of the records in error that are put aside."""
    content: ContentRead = ContentRead()
    """What was read of the next input, if anybody looks for it."""
    ahead: tuple[FinishedOutput, ...] = ()
    """Outputs that were finished since the line before, in any order, each by itself."""
    made: tuple[FinishedPart, ...] = ()
    """Parts of outputs of large files that were."""


def read_checkpoints(path: Path) -> Iterator[Checkpoint]:
    """The lines of a journal that are whole; the last one may have been cut."""
    for line in path.read_bytes()[: end_of_lines(path)].splitlines():
        yield msgspec.json.decode(line, type=Checkpoint)


def end_of_lines(path: Path) -> int:
    """Bytes of the lines of a journal that are whole."""
    return path.read_bytes().rfind(b"\n") + 1
