"""Units of work that other processes and machines do: each an output of a folder, made whole by whoever takes it.

A unit depends on nothing but its order. What is made of it stands in a folder of its own beside the journal, named by
the unit and by chance, and is on the disk before anything is said of it. Only the run that holds the journal gives it
its name. So a unit that is done twice, or by somebody who was thought lost, does no harm.
"""

import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np

from kilter.service.detector import Detector, KilterError
from kilter.service.detector.shifts import SAMPLED, ColumnCounts
from kilter.service.detector.sketch import Familiar
from kilter.service.formats.addresses import Address, Place
from kilter.service.formats.counting import ScoredInput, Tally, added_tally
from kilter.service.formats.inputs import OutputFile, ScoringInput, Target
from kilter.service.formats.judge import BatchJudge
from kilter.service.formats.partial import DATA, UNIT, FinishedOutput, Progress, UnfinishedError
from kilter.service.formats.provenance import source_bytes, source_digest
from kilter.service.formats.runs import FileRun
from kilter.service.formats.source import STDIN, Hints
from kilter.service.formats.whole_files import sync_folder
from kilter.service.formats.work import Picked
from kilter.service.formats.writers import Output

T = TypeVar("T")
R = TypeVar("R")


class Workplace(Protocol):
    """Where units are done: a process with the model."""

    @property
    def name(self) -> str:
        """How a message names it."""

    @property
    def detector(self) -> Detector:
        """The model, the same as that of the run."""

    def check(self) -> None:
        """Raise UnfinishedError if nobody waits for the work any more."""


class Cluster(Protocol):
    """Workplaces that do pieces of work, each in one of them, and again in another one if that is lost."""

    def check(self, folder: Path, inputs: Sequence[Path]) -> None:
        """Raise UnfinishedError if a workplace does not see the inputs, or cannot write to the folder."""

    def run(self, work: Callable[[Workplace, T], R], items: Iterable[T]) -> Iterator[tuple[int, R]]:
        """The results of some work on items, each with its item's place, as they are ready.

        `work` is a function of a module, or a `functools.partial` of one. Raises what it raises, and UnfinishedError.
        """


class SourceFacts(NamedTuple):
    """An input as the run sees it."""

    path: Path
    name: str
    bytes: int
    modified_ns: int


class UnitOrder(NamedTuple):
    """What a unit of work is made of."""

    place: int
    """That of its output."""
    source: SourceFacts
    output: Path
    """Where it will be, which says its format."""
    folder: Path
    """That of the journal."""
    settings: dict[str, Any]
    """All of a `BatchJudge` but the model."""
    hints: Hints
    only: Picked
    kept: tuple[str, ...] | None
    strict: bool


class FinishedUnit(NamedTuple):
    """What became of a unit."""

    file: str
    """See `FinishedOutput`."""
    input: ScoredInput
    tally: Tally
    columns: ColumnCounts
    notes: tuple[str, ...]


def shared_path(place: Place) -> Path:
    """A whole path that others see, too. Raises KilterError for an address."""
    if isinstance(place, Address):
        raise KilterError(f"{place} is an address, and workers share folders: mount it there, or leave --engine out")
    return place.absolute()


def facts_of(one: ScoringInput) -> SourceFacts:
    """An input as it is seen here, by its whole path. Raises KilterError for what is no file or folder here."""
    path = shared_path(one.path)
    if str(one.path) == STDIN or not (path.is_file() or path.is_dir()):
        raise KilterError(f"{one.path} is no file or folder that others can read: save it first, or leave --engine out")
    stat = path.stat()
    return SourceFacts(path, one.name, *((stat.st_size, stat.st_mtime_ns) if path.is_file() else (0, 0)))


def check_seen(workplace: Workplace, source: SourceFacts) -> None:
    """Raise UnfinishedError if an input is not seen in a place, or is another one there."""
    try:
        stat = source.path.stat()
    except OSError as error:
        raise UnfinishedError(
            f"{workplace.name} cannot see {source.path}: {error.strerror}. Every worker needs the folders of the "
            "inputs and of the output at the same paths: mount them there"
        ) from None
    if source.bytes and (stat.st_size, stat.st_mtime_ns) != (source.bytes, source.modified_ns):
        raise UnfinishedError(
            f"{workplace.name} sees another {source.path}, of {stat.st_size:,} bytes and not {source.bytes:,}, or of "
            "another time: every worker needs the same folder at this path"
        )


def score_unit(workplace: Workplace, order: UnitOrder) -> FinishedUnit:
    """Make an output, and have it on the disk, in a folder of its own. Raises UnfinishedError if that is not there."""
    check_seen(workplace, order.source)
    folder = order.folder / f"{UNIT}-{order.place}-{secrets.token_hex(4)}"
    try:
        folder.mkdir()
    except FileNotFoundError:
        raise UnfinishedError(f"{workplace.name} cannot see {order.folder}, or nobody waits for it any more") from None
    try:
        return _scored(workplace, order, folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _scored(workplace: Workplace, order: UnitOrder, folder: Path) -> FinishedUnit:
    detector, source = workplace.detector, order.source
    run = FileRun(
        detector,
        [ScoringInput(source.path, source.name)],
        Target((OutputFile(order.output, (0,)),), None),
        BatchJudge(detector, **order.settings),
        order.hints,
        only=order.only if isinstance(order.only, str) else {0: order.only},
        kept=order.kept,
        strict=order.strict,
        watch=lambda tally, share: workplace.check(),
    )
    with (folder / DATA).open("xb") as file:
        tally = run.into_stream(Output(file, folder))
        file.flush()
        os.fsync(file.fileno())
    for part in folder.glob("*.part"):
        part.unlink()
    sync_folder(folder)
    sync_folder(order.folder)
    facts = source_bytes(source.path), source_digest(source.path)
    scored = ScoredInput(source.name, *facts, tally.records, tally.anomalies, tally.errors)
    return FinishedUnit(f"{folder.name}/{DATA}", scored, tally, run.columns.counts(SAMPLED), tuple(run.notes))


def make_outputs(run: FileRun, progress: Progress, cluster: Cluster) -> Tally:
    """Have the outputs of a folder made that are left, in any order; what was counted of all inputs.

    The same as `FileRun.into_files`, after which, and before which, either can go on.
    """
    files = run.target.files
    progress.take_up([file.path for file in files])
    state = progress.forget_next()
    left = [number for number in range(state.output, len(files)) if number not in progress.ahead]
    orders = [_order(run, number, progress.folder.absolute()) for number in left]
    seen = _of_all(state.tally, progress, state.output)
    read, whole = 0, sum(order.source.bytes for order in orders)
    if orders:
        cluster.check(progress.folder.absolute(), [orders[0].source.path, orders[-1].source.path])
    for place, unit in cluster.run(score_unit, orders):
        number = left[place]
        done = files[number].inputs[-1] + 1
        finished = FinishedOutput(number, done, unit.file, unit.input, unit.tally)
        state = progress.finish(state, finished, files[number].path)
        run.columns.add(unit.columns)
        run.notes += unit.notes
        run.familiar[files[number].inputs[-1]] = Familiar(unit.tally.tested, unit.tally.known)
        seen, read = added_tally(seen, unit.tally), read + orders[place].source.bytes
        run.watch(seen, read / whole if whole else None)
    run.notes = [*dict.fromkeys(run.notes)]
    return state.tally


def _of_all(tally: Tally, progress: Progress, done: int) -> Tally:
    """What was counted so far, of outputs out of their order too."""
    for one in progress.ahead.values():
        if one.output >= done:
            tally = added_tally(tally, one.tally)
    return tally


def _order(run: FileRun, number: int, folder: Path) -> UnitOrder:
    file = run.target.files[number]
    place = file.inputs[-1]
    only = run.only if isinstance(run.only, str) else run.only.get(place, np.empty(0, np.int64))
    settings = {name: value for name, value in vars(run.judge).items() if name != "detector"}
    kept = None if run.kept is None else tuple(run.kept)
    source = facts_of(run.inputs[place])
    return UnitOrder(number, source, shared_path(file.path), folder, settings, run.hints, only, kept, run.strict)
