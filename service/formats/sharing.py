"""Which inputs are shared out, since they are large, and into which ranges each of them is cut."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple

from kilter.service.formats import ranges
from kilter.service.formats.addresses import Place
from kilter.service.formats.checkpoints import FinishedPart
from kilter.service.formats.contents import ContentRead
from kilter.service.formats.counting import Tally, added_tally
from kilter.service.formats.inputs import OutputFile, ScoringInput, Target
from kilter.service.formats.opening import open_source
from kilter.service.formats.ranges import FileRange, even_size
from kilter.service.formats.source import STDIN, Hints, Source
from kilter.service.formats.workplaces import Cluster, SourceFacts, Workplace, check_seen, facts_of
from kilter.service.formats.writers import is_stream, output_format


class SharedInput(NamedTuple):
    """A large input, of which every range is a unit of work."""

    source: SourceFacts
    content: ContentRead
    ranges: tuple[FileRange, ...]
    output: OutputFile
    own: range
    """The numbers of the ranges that are of this run, which is one of several shards or the only one."""


class CutOrder(NamedTuple):
    """What is to be cut, into ranges of about so many bytes."""

    source: SourceFacts
    size: int


def cut_input(workplace: Workplace, order: CutOrder, hints: Hints) -> tuple[ContentRead, tuple[FileRange, ...]]:
    """All of an input, as it is read once, and its ranges; none if it has not two at least."""
    workplace.check()
    check_seen(workplace, order.source)
    with closing(Source(order.source.path, hints=hints)) as source:
        if not source.is_divisible:  # otherwise JSON, say, would be read for nothing
            return ContentRead(), ()
    with open_source(workplace.detector, order.source.path, None, hints) as reader:
        cut: list[FileRange] = []
        for one in reader.ranges(order.size):
            workplace.check()
            reader.content(final=False)  # it is hashed while the system still has it in memory
            cut.append(one)
        return (reader.content(final=True), tuple(cut)) if len(cut) > 1 else (ContentRead(), ())


def find_shared(
    inputs: Sequence[ScoringInput], target: Target, hints: Hints, cluster: Cluster
) -> dict[int, SharedInput]:
    """The tables that are shared out, by their places, cut in a cluster.

    They are files of this machine, with more bytes than a range has, in formats of which ranges can be read and parts
    put together. Of shards each has every n-th of all ranges.
    """
    large = [file for file in target.files if _may_be_shared(inputs, file)]
    orders = [CutOrder(facts_of(inputs[file.inputs[0]]), 0) for file in large]
    orders = [order._replace(size=even_size(order.source.bytes)) for order in orders]
    several = dict(cluster.run(partial(cut_input, hints=hints), orders)) if orders else {}
    shared: dict[int, SharedInput] = {}
    first, step = (0, 1) if target.shard is None else target.shard
    before = 0
    for place, (file, order) in enumerate(zip(large, orders, strict=True)):
        content, cut = several[place]
        if cut:
            own = range((first - before) % step, len(cut), step)
            shared[file.inputs[0]] = SharedInput(order.source, content, cut, file, own)
            before += len(cut)
    return shared


def _may_be_shared(inputs: Sequence[ScoringInput], file: OutputFile) -> bool:
    if len(file.inputs) > 1 or not isinstance(file.path, Path) or is_stream(file.path):
        return False
    source = inputs[file.inputs[0]].path
    if not isinstance(source, Path) or str(source) == STDIN or not source.is_file():
        return False
    return source.stat().st_size > ranges.RANGE and output_format(file.path)[0].join is not None


def join_parts(output: Place, folders: Sequence[Path], parts: Sequence[FinishedPart], file: BinaryIO) -> None:
    """Write what will be an output of its parts in folders, in order."""
    wide = {name for part in parts for name in part.wide}
    types = {name: kind for part in parts for name, kind in part.types.items() if name not in wide}
    output_format(output)[0].joiner()(folders, types, file)


def tally_of(parts: Sequence[FinishedPart]) -> Tally:
    """What was counted of parts."""
    tally = Tally()
    for part in parts:
        tally = added_tally(tally, part.tally)
    return tally


def without_shared(target: Target, shared: Mapping[int, SharedInput]) -> Target:
    """The outputs that are made whole."""
    return target._replace(files=tuple(file for file in target.files if file.inputs[-1] not in shared))
