"""What is written of an output before it is complete, so that a run that was killed can be continued.

Beside the output, or in its folder, stands a hidden folder with a plan, which says what is made of what, a journal, and
the output so far. A line of the journal is written once what it tells of is on the disk; what was written after the
last one does not count. The output gets its name when it is complete, and then the folder is removed.
"""

import os
import shutil
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
from polars.exceptions import PolarsError

from kilter.service.detector.errors import KilterError
from kilter.service.formats.addresses import Place
from kilter.service.formats.checkpoints import (
    Checkpoint,
    FinishedOutput,
    FinishedPart,
    end_of_lines,
    read_checkpoints,
)
from kilter.service.formats.contents import ContentRead
from kilter.service.formats.counting import ScoredInput, Tally, added_tally, lessened_tally
from kilter.service.formats.joining import DATA, PART
from kilter.service.formats.markers import RemoteMarker
from kilter.service.formats.whole_files import publish, write_through

PLAN, JOURNAL, UNIT, REJECTS = "plan.json", "journal", "unit", "rejects.ndjson"
SECONDS, BYTES = 2.0, 1 << 26
"""After how long, or so much, the journal is continued."""
KEPT = "What was finished is kept: add --resume to the command to go on from there"
REMOVALS = 5  # how often a folder is removed that is written to meanwhile


Contents = Mapping[int, ContentRead]
Check = Callable[[Mapping[str, Any], Mapping[str, Any], Contents, Contents], Mapping[str, Any]]
"""Gives, of the plan before, the one of now, and what was read of inputs, the plan to be compared.

What was read of them in their order stands apart from what was of large ones, by their place.
"""


class UnfinishedError(KilterError):
    """The work cannot go on here and now, through no fault of what is read; what was done is kept."""


class Progress:
    """The folder of an output that is being made."""

    def __init__(
        self,
        folder: Path,
        plan: Mapping[str, Any],
        *,
        resume: bool,
        check: Check | None = None,
        marker: RemoteMarker | None = None,
    ) -> None:
        """Continue what is there if `resume` and there is anything, or else begin; the `marker` stands by the output.

        Raises KilterError if another process writes to it, or what is there was made of something else.
        """
        self.folder = folder
        self._file: BinaryIO | None = None
        self._rejects: BinaryIO | None = None
        self.scored: list[ScoredInput] = []
        self.ahead: dict[int, FinishedOutput] = {}
        self.parts: dict[str, FinishedPart] = {}
        self.state = Checkpoint()
        fresh = not folder.exists()
        folder.mkdir(mode=0o777 if marker is None else 0o700, parents=True, exist_ok=True)
        if marker is not None and (folder.is_symlink() or folder.stat().st_uid != os.getuid()):
            raise KilterError(f"{folder} is not your own: name another folder for temporary files, with TMPDIR")
        self._plan, self._marker = plan, marker
        self._lock = _locked(folder)
        if self._lock is None:
            raise KilterError(f"another process is writing to {folder}: wait for it, or end it")
        try:
            if resume and marker is not None and not (folder / JOURNAL).exists():
                marker.restore(folder / PLAN, folder / JOURNAL)
            self.resumed = resume and (folder / JOURNAL).exists()
            self._begin(plan, check)
            self._mark()
        except BaseException:
            if fresh:
                shutil.rmtree(folder, ignore_errors=True)
            self._release()
            raise
        self._journal = (folder / JOURNAL).open("ab")
        self._journal.truncate(end_of_lines(folder / JOURNAL))
        self._said, self._size_said = time.monotonic(), self.state.size

    def _begin(self, plan: Mapping[str, Any], check: Check | None) -> None:
        folder = self.folder
        if self.resumed:
            for checkpoint in read_checkpoints(folder / JOURNAL):
                self.state = checkpoint
                self.scored += checkpoint.inputs
                self.ahead |= {one.output: one for one in checkpoint.ahead}
                self.parts |= {one.name: one for one in checkpoint.made}
            before = msgspec.json.decode((folder / PLAN).read_bytes())
            if check is not None:
                plan = check(before, plan, self._known(), {one.place: one.content for one in self.parts.values()})
            compare_plans(before, plan, str(folder))
            kept = {Path(one.file).parts[0] for one in self.ahead.values()}
            kept |= {one.folder for one in self.parts.values()}
            for path in folder.glob(f"{UNIT}-*"):
                if path.name not in kept:
                    shutil.rmtree(path, ignore_errors=True)
        else:
            (folder / JOURNAL).unlink(missing_ok=True)  # the first to go, as nothing is continued without it
            for path in folder.iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            write_through(folder / PLAN, msgspec.json.encode(plan))

    def _known(self) -> dict[int, ContentRead]:
        """What was read of inputs, by their order: of those that are done, those done ahead, and the next one."""
        known = {place: ContentRead(one.bytes, one.sha256) for place, one in enumerate(self.scored)}
        if self.state.blocks:
            known[len(known)] = self.state.content
        return known | {one.output: ContentRead(one.input.bytes, one.input.sha256) for one in self.ahead.values()}

    def open(self) -> BinaryIO:
        """The file of the output that is next, as far as it is told in the journal."""
        path = self._data(self.state.output)
        self._file = path.open("r+b" if path.exists() else "w+b")
        self._file.truncate(self.state.size)
        self._file.seek(self.state.size)
        for part in self.folder.glob(f"*{PART}"):
            if int(part.stem) >= self.state.parts:
                part.unlink()
        self._said, self._size_said = time.monotonic(), self.state.size
        return self._file

    def open_rejects(self) -> BinaryIO:
        """The file of the records that are put aside, as far as it is told in the journal."""
        path = self.folder / REJECTS
        self._rejects = path.open("r+b" if path.exists() else "w+b")
        self._rejects.truncate(self.state.rejects)
        self._rejects.seek(self.state.rejects)
        return self._rejects

    def note(self, state: Checkpoint, content: Callable[[], ContentRead] = ContentRead) -> bool:
        """Remember how far everything is, now and then, and the `content` then; whether it was done now."""
        due = time.monotonic() - self._said >= SECONDS or state.size - self._size_said >= BYTES
        if due:
            self.save(msgspec.structs.replace(state, content=content()))
        return due

    def save(self, state: Checkpoint) -> None:
        """Remember how far everything is, once all of it is on the disk."""
        for file in (self._file, self._rejects):
            if file is not None and not file.closed:
                file.flush()
                os.fsync(file.fileno())
        self._journal.write(msgspec.json.encode(state) + b"\n")
        self._journal.flush()
        os.fsync(self._journal.fileno())
        self.state = state
        self.scored += state.inputs
        self._said, self._size_said = time.monotonic(), state.size

    def commit(self, state: Checkpoint, path: Place, before: Callable[[], None] | None = None) -> None:
        """Give the output that is complete its name; what has to be done `before` that is done then."""
        self.save(state)
        if self._file is not None:
            self._file.close()
            self._file = None
        self.settle(path, before)
        self._mark()

    def settle(self, path: Place, before: Callable[[], None] | None = None) -> None:
        """Give the last output that the journal calls complete its name, if it has not got it yet."""
        if before is not None:
            before()
        data = self._data(self.state.output - 1)
        if data.exists():
            publish(data, path)
        if not self.state.parts:  # otherwise they are of the output that is next
            for part in self.folder.glob(f"*{PART}"):
                part.unlink()

    def finish(self, state: Checkpoint, one: FinishedOutput, path: Place) -> Checkpoint:
        """Remember that an output was made by itself, and give it its name; how far everything is then."""
        self.ahead[one.output] = one
        state = self._passed(msgspec.structs.replace(state, ahead=(one,)))
        self.save(state)
        self._name(one, path)
        return msgspec.structs.replace(state, ahead=(), inputs=())

    def finish_part(self, state: Checkpoint, one: FinishedPart) -> None:
        """Remember that a part of an output was made by itself."""
        self.parts[one.name] = one
        self.save(msgspec.structs.replace(state, made=(one,), inputs=(), ahead=()))

    def parts_of(self, place: int) -> list[FinishedPart]:
        """The parts of what is made of an input, in order."""
        return sorted((one for one in self.parts.values() if one.place == place), key=lambda one: one.range.number)

    def keep_parts(self, wanted: Collection[FinishedPart]) -> None:
        """Remove all parts but some."""
        kept = {one.name: one for one in wanted}
        for name in self.parts.keys() - kept.keys():
            shutil.rmtree(self.folder / self.parts[name].folder, ignore_errors=True)
        self.parts = kept

    def pass_over(self, state: Checkpoint) -> Checkpoint:
        """Go past the next outputs, if they were made by themselves already; how far everything is then."""
        state = self._passed(msgspec.structs.replace(state, inputs=(), ahead=(), made=()))
        if state.inputs:
            self.save(state)
        return msgspec.structs.replace(state, inputs=())

    def _passed(self, state: Checkpoint) -> Checkpoint:
        while (one := self.ahead.get(state.output)) is not None:
            state = msgspec.structs.replace(
                state,
                output=state.output + 1,
                done=one.done,
                inputs=(*state.inputs, one.input),
                tally=added_tally(state.tally, one.tally),
            )
        return state

    def take_up(self, paths: Sequence[Place], before: Callable[[], None] | None = None) -> Checkpoint:
        """Give all outputs that are complete their names, of these paths, as `settle` does; how far everything is."""
        if self.resumed and self.state.output:
            self.settle(paths[self.state.output - 1], before)
        for one in self.ahead.values():
            self._name(one, paths[one.output])
        return self.pass_over(self.state)

    def forget_next(self) -> Checkpoint:
        """Leave out what was done of the next output, which is to be made by itself; how far everything is then."""
        state = msgspec.structs.replace(self.state, inputs=(), ahead=(), made=())
        if state.blocks:
            tally = lessened_tally(state.tally, state.own)
            state = msgspec.structs.replace(state, blocks=0, size=0, parts=0, wide=(), own=Tally(), tally=tally)
            self.save(state)
        for path in (*self.folder.glob(f"{DATA}-*"), *self.folder.glob(f"*{PART}")):
            path.unlink()
        return state

    def _name(self, one: FinishedOutput, path: Place) -> None:
        made = self.folder / one.file
        if made.exists():
            publish(made, path)
        shutil.rmtree(made.parent, ignore_errors=True)

    def close(self, *, keep: bool) -> None:
        """Let others write to it; without `keep`, remove it."""
        for file in (self._file, self._rejects):
            if file is not None:
                with suppress(OSError):  # a full disk was told before
                    file.close()
        with suppress(OSError):
            self._journal.close()
        if not keep:
            remove_folder(self.folder)
        self._release()
        if self._marker is not None and not keep:
            self._marker.remove()

    def _mark(self) -> None:
        """Tell at the address of the output which files are complete, if nothing else was written for what follows."""
        if self._marker is not None and not self.state.rejects and not self.state.blocks:
            self._marker.write(self._plan, msgspec.structs.replace(self.state, inputs=tuple(self.scored)))

    def _release(self) -> None:
        if self._lock is not None and self._lock >= 0:
            os.close(self._lock)

    def _data(self, output: int) -> Path:
        return self.folder / f"{DATA}-{output}"


def remove_folder(folder: Path) -> None:
    """Remove a folder that somebody may still write to, who gives up once a file is gone."""
    for _ in range(REMOVALS):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.1)


def compare_plans(before: Mapping[str, Any], now: Mapping[str, Any], place: str) -> None:
    """Raise KilterError, which says what differs, if an output was begun or made in another way."""
    now = msgspec.json.decode(msgspec.json.encode(now))
    for key, value in now.items():
        earlier = before.get(key)
        if earlier == value:
            continue
        if isinstance(value, list) and isinstance(earlier, list):
            pairs = [(a, b) for a, b in zip(earlier, value, strict=False) if a != b]
            earlier, value = pairs[0] if pairs else (f"{len(earlier)} of them", f"{len(value)} of them")
        raise KilterError(
            f"{place} cannot be continued, since {key} differs: it was {_short(earlier)} and is {_short(value)}. Leave "
            "--resume out, to begin again, or write to another place"
        )


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text if len(text) < 200 else f"{text[:200]}..."


def _locked(folder: Path) -> int | None:
    """The descriptor of a folder whose lock is held until it is closed; None if another process has it.

    Where there are no locks it is -1.
    """
    if sys.platform == "win32":
        return -1
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError:
        os.close(descriptor)
        return -1
    return descriptor


@contextmanager
def keeping(progress: Progress, out: str) -> Iterator[Progress]:
    """Close an output's progress: it is kept if the run was interrupted after some work, so that it can be resumed.

    Raises KilterError for what cannot be written, a full disk included.
    """
    keep = False
    try:
        yield progress
    except (OSError, PolarsError, KeyboardInterrupt, SystemExit, UnfinishedError) as error:
        keep = progress.state != Checkpoint()
        if isinstance(error, UnfinishedError) and keep:
            raise UnfinishedError(f"{error}. {KEPT}") from error
        if isinstance(error, OSError | PolarsError):
            why = error.strerror if isinstance(error, OSError) and error.strerror else str(error).partition("\n")[0]
            left = (
                "What was written before is kept: make room, and add --resume to the command"
                if keep
                else "Nothing half-written was left behind"
            )
            raise KilterError(f"cannot write {out}: {why}. {left}") from error
        if keep and isinstance(error, KeyboardInterrupt):
            raise KeyboardInterrupt("add --resume to the command to go on from there") from error
        raise
    finally:
        progress.close(keep=keep)
