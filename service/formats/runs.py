"""The one loop of scoring files: blocks of all inputs in their order, judged anywhere, and written in that order."""

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

import msgspec
import numpy as np

from kilter.service.detector import Detector, KilterError
from kilter.service.detector.arrays import Positions
from kilter.service.detector.names import named_column
from kilter.service.detector.shifts import ColumnTally
from kilter.service.detector.sketch import Familiar
from kilter.service.formats.addresses import file_bytes
from kilter.service.formats.checkpoints import Checkpoint
from kilter.service.formats.contents import ContentRead
from kilter.service.formats.counting import ScoredInput, Tally, added_tally, counted_input
from kilter.service.formats.inputs import ScoringInput, Target
from kilter.service.formats.judge import BatchJudge
from kilter.service.formats.lines import FILE, NEAREST, ROW, TAIL
from kilter.service.formats.opening import open_records
from kilter.service.formats.partial import REJECTS, Progress
from kilter.service.formats.provenance import read_content
from kilter.service.formats.reading import Block, Reader
from kilter.service.formats.rejects import finish_rejects
from kilter.service.formats.source import Hints
from kilter.service.formats.threads import Map
from kilter.service.formats.work import BlockWork, JudgedBlock
from kilter.service.formats.writers import Output, OutputPart, Writer, compress_part, output_format

Watch = Callable[[Tally, float | None], None]
"""Is told what was counted so far, and which share of what there is to read is read, if that is known."""


def unwatched(tally: Tally, share: float | None) -> None:
    """A `Watch` that does nothing."""


Only = Literal["all", "anomalies"] | Mapping[int, Positions]
"""Which records are written: all, those that are flagged, or those at some places in each input, in order."""


class _Task(NamedTuple):
    """A block, or the end of an input."""

    output: int
    input: int
    reader: Reader
    work: BlockWork
    block: Block | None


def _judged(task: _Task) -> tuple[_Task, JudgedBlock | None]:
    return task, None if task.block is None else task.work(task.block)


@dataclass
class FileRun:
    """Scores inputs into the files of a target."""

    detector: Detector
    inputs: list[ScoringInput]
    target: Target
    judge: BatchJudge
    hints: Hints
    mapped: Map = map
    stdin: BinaryIO | None = None
    hashed: bool = False
    """Whether it is told which content the inputs have."""
    only: Only = "all"
    """Which records are written; where that is not all, the place of each is appended."""
    kept: Sequence[str] | None = None
    """The columns that are written, where that is not all."""
    strict: bool = False
    """Whether a record in error is an error of all."""
    draw: Callable[[str, bytes], None] = lambda name, content: None
    """Takes the drawing of a picture by its name."""
    watch: Watch = unwatched
    """Is told, after each block, what was counted so far, and which share of the inputs is read."""
    notes: list[str] = field(default_factory=list)
    familiar: dict[int, Familiar] = field(default_factory=dict)
    """Of each input that was read to its end in this run, by its place."""

    def __post_init__(self) -> None:
        self.columns = ColumnTally(self.detector.modality, self.detector.reference)
        self._joined = len(self.inputs) > 1 and self.target.folder is None
        self.further = ((TAIL,) if self.judge.tails else ()) + ((NEAREST,) if self.judge.keep is not None else ())
        self.further += (FILE,) if self._joined else ()
        self.further += (ROW,) if self._joined or self.only != "all" else ()
        self._contents: dict[int, ContentRead] = {}
        self._first: Reader | None = None
        self._sizes = [file_bytes(one.path) for one in self.inputs]
        self._read = 0.0  # bytes of the inputs

    def into_stream(self, output: Output, rejects: BinaryIO | None = None) -> Tally:
        """Write the verdicts to a stream, and the lines of records in error to `rejects`; what was counted."""
        tally, writer = self._write(output, rejects)
        if writer is not None:
            writer.finish()
        return tally

    def into_part(self, output: Output, rejects: BinaryIO | None = None) -> tuple[Tally, Writer]:
        """Write the verdicts on the range of `hints` without what makes them a file; what was counted, and the writer.

        What stands before them is written with the first range.
        """
        tally, writer = self._write(output, rejects)
        if writer is None:
            raise TypeError("a range has a block at least")
        return tally, writer

    def _write(self, output: Output, rejects: BinaryIO | None) -> tuple[Tally, Writer | None]:
        """Write all but the end; what was counted, and the writer, unless there was nothing to read."""
        part, tally, own, writer = self.hints.part, Tally(), Tally(), None
        for task, judged in self.mapped(_judged, self._tasks(Checkpoint())):
            if writer is None:
                writer = self._writer(task, output)
                if part is None or not part.number:
                    writer.put(OutputPart(task.work.pack(writer.begin())))
            if judged is not None:
                self._count(task, judged)
                writer.put(judged.part)
                if rejects is not None:
                    rejects.write(judged.rejects)
                tally, own = _added(tally, judged), _added(own, judged)
                self.watch(tally, self._share())
            else:
                self.familiar[task.input] = Familiar(own.tested, own.known)
                own = Tally()
        return tally, writer

    def into_files(self, progress: Progress) -> Tally:
        """Write the verdicts to the files of the target from where `progress` is; what was counted of all inputs."""
        rejects = None if self.target.reject is None else progress.open_rejects()
        paths = [file.path for file in self.target.files]
        state = progress.take_up(paths, self._rejecting(progress, progress.state))
        writer: Writer | None = None
        for task, judged in self.mapped(_judged, self._tasks(state, progress.ahead)):
            if writer is None:
                file = progress.open()
                writer = self._writer(task, Output(file, progress.folder))
                writer.restore(state.parts, state.wide)
                if not state.size:
                    writer.put(OutputPart(task.work.pack(writer.begin())))
            if judged is not None:
                self._count(task, judged)
                writer.put(judged.part)
                if rejects is not None:
                    rejects.write(judged.rejects)
                state = msgspec.structs.replace(
                    state,
                    rejects=state.rejects + len(judged.rejects),
                    blocks=state.blocks + 1,
                    size=file.tell(),
                    parts=state.parts + 1,
                    wide=tuple(sorted({*state.wide, *judged.part.wide})),
                    tally=_added(state.tally, judged),
                    own=_added(state.own, judged),
                )
                self.watch(state.tally, self._share())
            else:
                ended = (*state.inputs, self._ended(task, state.own))
                state = msgspec.structs.replace(state, done=task.input + 1, blocks=0, own=Tally(), inputs=ended)
                if task.input == self.target.files[task.output].inputs[-1]:
                    writer.finish()
                    state = msgspec.structs.replace(state, output=state.output + 1, size=0, parts=0, wide=())
                    path = self.target.files[task.output].path
                    progress.commit(state, path, self._rejecting(progress, state))
                    writer, state = None, progress.pass_over(state)
                    continue
            if progress.note(state, ContentRead if judged is None else partial(self._content, task)):
                state = msgspec.structs.replace(state, inputs=())
        return state.tally

    def _rejecting(self, progress: Progress, state: Checkpoint) -> Callable[[], None] | None:
        """What makes the file of records in error, once all outputs are complete."""
        last = self.target.reject is not None and state.output == len(self.target.files)
        return partial(finish_rejects, self.target, progress.folder / REJECTS) if last else None

    def _tasks(self, start: Checkpoint, finished: Container[int] = ()) -> Iterator[_Task]:
        """The blocks that are left to be judged, and the end of each input; not those of outputs that are finished."""
        judged = start.blocks
        for number, output in enumerate(self.target.files):
            if number in finished:
                continue
            form, packing = output_format(output.path)
            for place in output.inputs:
                if place < start.done:
                    continue
                one = self.inputs[place]
                with open_records(self.detector, one.path, self.stdin, self.hints, self.further) as reader:
                    if self._joined:
                        self._check_alike(reader)
                    unused = Output(BytesIO(), Path())
                    writer = form.writer()(unused, reader, self.detector.schema, self.further, self._kept(reader))
                    source = one.name if self._joined else None
                    rejecting = None if self.target.reject is None else one.name
                    pack = partial(compress_part, packing=packing)
                    only = self.only if isinstance(self.only, str) else self.only.get(place, np.empty(0, np.int64))
                    work = BlockWork(self.judge, writer, pack, source, ROW in self.further, only, rejecting)
                    for count, block in enumerate(reader.blocks()):
                        if count >= judged:
                            self._read = sum(self._sizes[:place]) + reader.share * self._sizes[place]
                            yield _Task(number, place, reader, work, block)
                    if self.hashed:
                        self._contents[place] = self._look(place, reader, final=True)
                    self.notes += reader.notes
                    judged = 0
                yield _Task(number, place, reader, work, None)

    def _writer(self, task: _Task, output: Output) -> Writer:
        form, _ = output_format(self.target.files[task.output].path)
        return form.writer()(output, task.reader, self.detector.schema, self.further, self._kept(task.reader))

    def _kept(self, reader: Reader) -> Sequence[str] | None:
        """The columns of an input that are written; None of all. Raises KilterError for one that it has not."""
        if self.kept is None:
            return None
        option = "--columns" if self.hints.stated is None else "columns"
        return [named_column(option, name, reader.columns) for name in self.kept]

    def _share(self) -> float | None:
        """The share of the inputs that is read, by their bytes; None while it is not known."""
        whole = sum(self._sizes)
        return self._read / whole if whole and self._read else None

    def _check_alike(self, reader: Reader) -> None:
        """Raise KilterError if an input cannot go into the same file as the first one."""
        first = self._first = self._first or reader
        if reader.columns != first.columns:
            raise KilterError(
                f"{reader.name} has not the columns of {first.name} in the same order, and both are written to one "
                "file: name a folder to write to"
            )
        if (reader.dialect, reader.header) != (first.dialect, first.header):
            raise KilterError(
                f"{reader.name} is not written like {first.name}, and both go into one file: name a folder to write to"
            )

    def _count(self, task: _Task, judged: JudgedBlock) -> None:
        if self.strict and judged.errors:
            raise KilterError(
                f"{self.inputs[task.input].name}: {judged.first_error}. It ends here, as --strict asks: put it right, "
                "or leave --strict out and find it in kilter_error"
            )
        if judged.counts is not None:
            self.columns.add(judged.counts)
        for name, drawing in judged.drawings:
            self.draw(name, drawing)

    def _ended(self, task: _Task, own: Tally) -> ScoredInput:
        self.familiar[task.input] = Familiar(own.tested, own.known)
        one = self.inputs[task.input]
        content = self._content(task)
        return counted_input(one.name, content.bytes, content.sha256, own)

    def _content(self, task: _Task) -> ContentRead:
        """What was read of an input, if somebody looks for it."""
        if not self.hashed or task.input in self._contents:
            return self._contents.get(task.input, ContentRead())
        return self._look(task.input, task.reader, final=False)

    def _look(self, place: int, reader: Reader, *, final: bool) -> ContentRead:
        """What was read of an input: of pictures all, at once. Raises KilterError if they cannot be read."""
        content = reader.content(final=final)
        try:
            return (
                content if content.sha256 else self._contents.setdefault(place, read_content(self.inputs[place].path))
            )
        except OSError as error:
            raise KilterError(f"{reader.name} cannot be read: {error.strerror or error}") from None


def _added(tally: Tally, judged: JudgedBlock) -> Tally:
    counts = judged.records, judged.anomalies, judged.errors, judged.first_error
    return added_tally(tally, Tally(*counts, *judged.familiar, {**judged.blamed}))
