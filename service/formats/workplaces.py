"""Where units of work are done: processes with the model, here and elsewhere, which see the same files."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

from kilter.service.detector import Detector, KilterError
from kilter.service.formats.addresses import Address, Place
from kilter.service.formats.inputs import ScoringInput
from kilter.service.formats.partial import UnfinishedError
from kilter.service.formats.source import STDIN
from kilter.service.formats.threads import Map

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

    @property
    def mapped(self) -> Map:
        """What applies work to the blocks of a unit."""
        return map

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


class ThisProcess(Workplace, Cluster):
    """One workplace, here."""

    name = "this process"

    def __init__(self, detector: Detector, mapped: Map) -> None:
        self._detector, self._mapped = detector, mapped

    @property
    def detector(self) -> Detector:
        return self._detector

    @property
    def mapped(self) -> Map:
        return self._mapped

    def check(self, folder: Path | None = None, inputs: Sequence[Path] = ()) -> None:
        return

    def run(self, work: Callable[[Workplace, T], R], items: Iterable[T]) -> Iterator[tuple[int, R]]:
        return ((place, work(self, item)) for place, item in enumerate(items))


class SourceFacts(NamedTuple):
    """An input as the run sees it."""

    path: Path
    name: str
    bytes: int
    modified_ns: int


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
