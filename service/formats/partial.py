"""What is written of an output before it is complete, so that a run that was killed can be continued.

Beside the output, or in its folder, stands a hidden folder with a plan, which says what is made of what, a journal, and
the output so far. A line of the journal is written once what it tells of is on the disk; what was written after the
last one does not count. The output gets its name when it is complete, and then the folder is removed.
"""

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
from polars.exceptions import PolarsError

from kilter.service.detector.errors import KilterError
from kilter.service.formats.addresses import Address, Place, upload_to
from kilter.service.formats.contents import ContentRead
from kilter.service.formats.markers import RemoteMarker

PLAN, JOURNAL, DATA, REJECTS = "plan.json", "journal", "data", "rejects.ndjson"
SECONDS, BYTES = 2.0, 1 << 26
"""After how long, or so much, the journal is continued."""


class ScoredInput(msgspec.Struct, frozen=True):
    """An input of which all is judged."""

    name: str
    bytes: int
    sha256: str
    """Empty where nobody looks for it."""
    records: int = 0
    anomalies: int = 0
    errors: int = 0


class Tally(msgspec.Struct, frozen=True):
    """What was counted of some records."""

    records: int = 0
    anomalies: int = 0
    errors: int = 0
    first_error: str = ""
    tested: int = 0
    known: int = 0
    blamed: dict[str, int] = {}
    """How often each field is the first reason of a flagged record."""


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


Check = Callable[[Mapping[str, Any], Mapping[str, Any], Sequence[ContentRead]], Mapping[str, Any]]
"""Gives, of the plan before, the one of now, and what was read of the first inputs, the plan to be compared."""


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
        self._journal.truncate(_end_of_lines(folder / JOURNAL))
        self._said, self._size_said = time.monotonic(), self.state.size

    def _begin(self, plan: Mapping[str, Any], check: Check | None) -> None:
        folder = self.folder
        if self.resumed:
            for checkpoint in _checkpoints(folder / JOURNAL):
                self.state = checkpoint
                self.scored += checkpoint.inputs
            before = msgspec.json.decode((folder / PLAN).read_bytes())
            if check is not None:
                known = [ContentRead(one.bytes, one.sha256) for one in self.scored]
                known += [self.state.content] if self.state.blocks else []
                plan = check(before, plan, known)
            compare_plans(before, plan, str(folder))
        else:
            (folder / JOURNAL).unlink(missing_ok=True)  # the first to go, as nothing is continued without it
            for path in folder.iterdir():
                path.unlink()
            _write(folder / PLAN, msgspec.json.encode(plan))

    def open(self) -> BinaryIO:
        """The file of the output that is next, as far as it is told in the journal."""
        path = self._data(self.state.output)
        self._file = path.open("r+b" if path.exists() else "w+b")
        self._file.truncate(self.state.size)
        self._file.seek(self.state.size)
        for part in self.folder.glob("*.part"):
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
            _publish(data, path)
        if not self.state.parts:  # otherwise they are of the output that is next
            for part in self.folder.glob("*.part"):
                part.unlink()

    def close(self, *, keep: bool) -> None:
        """Let others write to it; without `keep`, remove it."""
        for file in (self._file, self._rejects):
            if file is not None:
                with suppress(OSError):  # a full disk was told before
                    file.close()
        with suppress(OSError):
            self._journal.close()
        if not keep:
            shutil.rmtree(self.folder, ignore_errors=True)
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


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _publish(data: Path, place: Place) -> None:
    """Give a file that is complete its final place, in which it appears whole."""
    if isinstance(place, Address):
        place.upload(data)
        data.unlink()
    else:
        place.parent.mkdir(parents=True, exist_ok=True)
        data.replace(place)
        _sync(place.parent)


def write_whole(path: Place, content: bytes) -> None:
    """Write a small file that appears whole or not at all."""
    with whole_file(path) as file:
        file.write(content)


@contextmanager
def whole_file(path: Place) -> Iterator[BinaryIO]:
    """A file that appears whole, once it is closed, or not at all."""
    if isinstance(path, Address):
        with upload_to(path) as file:
            yield file
        return
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    part.replace(path)
    _sync(path.parent)


def _sync(folder: Path) -> None:
    with suppress(OSError):  # not every file system can
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _checkpoints(path: Path) -> Iterator[Checkpoint]:
    """The lines of a journal that are whole; the last one may have been cut."""
    for line in path.read_bytes()[: _end_of_lines(path)].splitlines():
        yield msgspec.json.decode(line, type=Checkpoint)


def _end_of_lines(path: Path) -> int:
    return path.read_bytes().rfind(b"\n") + 1


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
    except (OSError, PolarsError, KeyboardInterrupt, SystemExit) as error:
        keep = progress.state != Checkpoint()
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
