"""Units of work that other processes and machines do: an output of a folder, or a range of a large input.

A unit depends on nothing but its order. What is made of it stands in a folder of its own beside the journal, named by
the unit and by chance, and is on the disk before anything is said of it. Only the run that holds the journal gives it
its name. So a unit that is done twice, or by somebody who was thought lost, does no harm.
"""

import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from kilter.service.detector.shifts import SAMPLED, ColumnCounts
from kilter.service.detector.sketch import Familiar
from kilter.service.formats.addresses import Place
from kilter.service.formats.checkpoints import FinishedOutput, FinishedPart
from kilter.service.formats.counting import ScoredInput, Tally, added_tally, counted_input
from kilter.service.formats.inputs import OutputFile, ScoringInput, Target
from kilter.service.formats.joining import DATA, PART
from kilter.service.formats.judge import BatchJudge
from kilter.service.formats.partial import REJECTS, UNIT, Progress, UnfinishedError
from kilter.service.formats.provenance import source_bytes, source_digest
from kilter.service.formats.ranges import FileRange
from kilter.service.formats.runs import FileRun
from kilter.service.formats.sharing import SharedInput, join_parts, tally_of
from kilter.service.formats.source import Hints
from kilter.service.formats.whole_files import open_through, sync_folder
from kilter.service.formats.work import Picked
from kilter.service.formats.workplaces import Cluster, SourceFacts, Workplace, check_seen, facts_of, shared_path
from kilter.service.formats.writers import Output


class UnitOrder(NamedTuple):
    """What a unit of work is made of."""

    place: int
    """That of its input."""
    source: SourceFacts
    output: Path
    """Where it will be, which says its format."""
    folder: Path
    """That of the journal."""
    settings: dict[str, Any]
    """All of a `BatchJudge` but the model."""
    hints: Hints
    """The range is one of them."""
    only: Picked
    kept: tuple[str, ...] | None
    strict: bool
    reject: Place | None = None
    """Whether records in error are put aside, and for which file."""


class FinishedUnit(NamedTuple):
    """What became of a unit."""

    file: str
    """See `FinishedOutput`."""
    input: ScoredInput
    tally: Tally
    columns: ColumnCounts
    notes: tuple[str, ...]
    wide: tuple[str, ...] = ()
    """Of a range, see `FinishedPart`."""
    types: Mapping[str, str] = {}


class JoinOrder(NamedTuple):
    """The parts of an output, in order."""

    place: int
    """That of its input."""
    source: SourceFacts
    output: Path
    folder: Path
    parts: tuple[FinishedPart, ...]


@contextmanager
def _own_folder(workplace: Workplace, folder: Path, place: int) -> Iterator[Path]:
    """A new folder in that of the journal, which is on the disk afterwards, with what is in it.

    Raises UnfinishedError if that is not there.
    """
    own = folder / f"{UNIT}-{place}-{secrets.token_hex(4)}"
    try:
        own.mkdir()
    except FileNotFoundError:
        raise UnfinishedError(f"{workplace.name} cannot see {folder}, or nobody waits for it any more") from None
    try:
        yield own
        sync_folder(own)
        sync_folder(folder)
    except BaseException:
        shutil.rmtree(own, ignore_errors=True)
        raise


def score_unit(workplace: Workplace, order: UnitOrder) -> FinishedUnit:
    """Make an output, or what becomes of a range, and have it on the disk, in a folder of its own.

    Raises UnfinishedError if the folder of the journal is not there, or the input is another one.
    """
    check_seen(workplace, order.source)
    with _own_folder(workplace, order.folder, order.place) as folder:
        run = _run_of(workplace, order)
        if order.hints.part is not None:
            return _part(workplace, order, run, folder)
        with open_through(folder / DATA) as file:
            tally = run.into_stream(Output(file, folder))
        for part in folder.glob(f"*{PART}"):
            part.unlink()
        facts = source_bytes(order.source.path), source_digest(order.source.path)
        return _finished(order, run, folder, facts, tally)


def _run_of(workplace: Workplace, order: UnitOrder) -> FileRun:
    return FileRun(
        workplace.detector,
        [ScoringInput(order.source.path, order.source.name)],
        Target((OutputFile(order.output, (0,)),), None, reject=order.reject),
        BatchJudge(workplace.detector, **order.settings),
        order.hints,
        workplace.mapped,
        only=order.only if isinstance(order.only, str) else {0: order.only},
        kept=order.kept,
        strict=order.strict,
        watch=lambda tally, share: workplace.check(),
    )


def _finished(order: UnitOrder, run: FileRun, folder: Path, facts: tuple[int, str], tally: Tally) -> FinishedUnit:
    scored = counted_input(order.source.name, *facts, tally)
    return FinishedUnit(f"{folder.name}/{DATA}", scored, tally, run.columns.counts(SAMPLED), tuple(run.notes))


def _part(workplace: Workplace, order: UnitOrder, run: FileRun, folder: Path) -> FinishedUnit:
    with open_through(folder / DATA) as file, open_through(folder / REJECTS) as rejects:
        tally, writer = run.into_part(Output(file, folder), rejects)
    check_seen(workplace, order.source)  # it was not changed meanwhile
    finished = _finished(order, run, folder, (0, ""), tally)
    return finished._replace(wide=writer.wide, types=writer.types)


def join_unit(workplace: Workplace, order: JoinOrder) -> str:
    """Make an output of its parts, and have it on the disk, in a folder of its own; the file there."""
    workplace.check()
    check_seen(workplace, order.source)
    with _own_folder(workplace, order.folder, order.place) as folder, open_through(folder / DATA) as file:
        join_parts(order.output, [order.folder / part.folder for part in order.parts], order.parts, file)
    return f"{folder.name}/{DATA}"


def make_outputs(run: FileRun, progress: Progress, cluster: Cluster, shared: Mapping[int, SharedInput]) -> Tally:
    """Have the outputs made that are left, in any order, and the parts of `shared` inputs; what was counted of all.

    The same as `FileRun.into_files`, after which, and before which, either can go on. A shard leaves its parts in the
    folder of the journal.
    """
    files = run.target.files
    progress.take_up([file.path for file in files])
    state = progress.forget_next()
    numbers = {file.inputs[-1]: number for number, file in enumerate(files)}
    left = [number for number in range(state.output, len(files)) if number not in progress.ahead]
    cut = {place: one for place, one in shared.items() if place not in numbers or numbers[place] in left}
    progress.keep_parts([one for one in progress.parts.values() if _is_of(one, cut)])
    there = {(one.place, one.range.number) for one in progress.parts.values()}
    orders = [
        _order(run, progress, place, one.output.path, one.source, one.ranges[number])
        for place, one in cut.items()
        for number in one.own
        if (place, number) not in there
    ]
    orders += [
        _order(run, progress, place, files[number].path, facts_of(run.inputs[place]))
        for number in left
        if (place := files[number].inputs[-1]) not in cut
    ]
    seen = _of_all(state.tally, progress, state.output)
    read, whole = 0, sum(map(_bytes, orders))
    if orders:
        cluster.check(progress.folder.absolute(), [orders[0].source.path, orders[-1].source.path])
    for place, unit in cluster.run(score_unit, orders):
        order = orders[place]
        run.columns.add(unit.columns)
        run.notes += unit.notes
        seen, read = added_tally(seen, unit.tally), read + _bytes(order)
        if order.hints.part is None:
            number = numbers[order.place]
            finished = FinishedOutput(number, order.place + 1, unit.file, unit.input, unit.tally)
            state = progress.finish(state, finished, files[number].path)
            run.familiar[order.place] = Familiar(unit.tally.tested, unit.tally.known)
        else:
            content, folder = cut[order.place].content, Path(unit.file).parts[0]
            facts = order.hints.part, content, folder, unit.tally, unit.wide, dict(unit.types)
            progress.finish_part(state, FinishedPart(order.place, *facts))
        run.watch(seen, read / whole if whole else None)
    run.notes = [*dict.fromkeys(run.notes)]
    parts = {place: tuple(progress.parts_of(place)) for place in cut}
    totals = {place: tally_of(several) for place, several in parts.items()}
    run.familiar |= {place: Familiar(total.tested, total.known) for place, total in totals.items()}
    if run.target.shard is not None:
        for total in totals.values():
            state = msgspec.structs.replace(state, tally=added_tally(state.tally, total))
        return state.tally
    joins = [
        JoinOrder(place, cut[place].source, shared_path(cut[place].output.path), progress.folder.absolute(), several)
        for place, several in parts.items()
    ]
    for number, file in cluster.run(join_unit, joins):
        place = joins[number].place
        content, total = cut[place].content, totals[place]
        scored = counted_input(cut[place].source.name, content.bytes, content.sha256, total)
        finished = FinishedOutput(numbers[place], place + 1, file, scored, total)
        state = progress.finish(state, finished, cut[place].output.path)
        progress.keep_parts([one for one in progress.parts.values() if one.place != place])
    return state.tally


def _is_of(part: FinishedPart, cut: Mapping[int, SharedInput]) -> bool:
    """Whether a part is of one of the ranges, as they are now."""
    one = cut.get(part.place)
    return one is not None and part.content == one.content and part.range in [one.ranges[number] for number in one.own]


def _bytes(order: UnitOrder) -> int:
    return order.source.bytes if order.hints.part is None else order.hints.part.bytes


def _of_all(tally: Tally, progress: Progress, done: int) -> Tally:
    """What was counted so far, of outputs out of their order too."""
    for one in progress.ahead.values():
        if one.output >= done:
            tally = added_tally(tally, one.tally)
    return added_tally(tally, tally_of([*progress.parts.values()]))


def _order(
    run: FileRun, progress: Progress, place: int, output: Place, source: SourceFacts, part: FileRange | None = None
) -> UnitOrder:
    only = run.only if isinstance(run.only, str) else run.only.get(place, np.empty(0, np.int64))
    if part is not None and not isinstance(only, str):
        first, last = np.searchsorted(only, (part.row, part.row + part.rows))
        only = only[first:last]
    settings = {name: value for name, value in vars(run.judge).items() if name != "detector"}
    return UnitOrder(
        place,
        source,
        shared_path(output),
        progress.folder.absolute(),
        settings,
        run.hints._replace(part=part),
        only,
        None if run.kept is None else tuple(run.kept),
        run.strict,
        run.target.reject,
    )
