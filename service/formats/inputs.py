"""The tables that are to be scored, by files, patterns and folders, and where the verdicts on each go."""

import glob
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from kilter.service.detector.errors import KilterError
from kilter.service.formats import FORMATS, format_named
from kilter.service.formats.addresses import Address, Place, local_path, place_of
from kilter.service.formats.source import STDIN
from kilter.service.formats.writers import PACKINGS

HIDDEN = ("_", ".")
"""How names begin that are no tables of a folder, as the folders of Spark and Hive have it."""


class ScoringInput(NamedTuple):
    """A table that is scored."""

    path: Place
    name: str
    """Its path in the folder that it was found in, with `/`, or else its file's name."""


class OutputFile(NamedTuple):
    """A file with verdicts, and the places of the inputs that go into it."""

    path: Place
    inputs: tuple[int, ...]


class Shard(NamedTuple):
    """One of several runs that share the work."""

    place: int
    """From 0."""
    of: int

    def __str__(self) -> str:
        return f"{self.place}-of-{self.of}"


class Target(NamedTuple):
    """Where verdicts go."""

    files: tuple[OutputFile, ...]
    folder: Place | None
    """The folder that mirrors the inputs; None if there is one file."""
    shard: Shard | None = None
    """Which of the files of the folder these are; None if they are all."""
    reject: Place | None = None
    """The file for records in error; None if they are written like others."""

    @property
    def place(self) -> Place:
        """The folder, or the one file."""
        return self.folder or self.files[0].path


def find_inputs(stated: Sequence[str | Place], *, tables: bool = True) -> list[ScoringInput]:
    """The tables of files, patterns like `2024-*.csv` and folders, in the order of their names in each of these.

    Of a folder all tables are taken, by the endings of their names, in it and below it. What are no `tables` is one
    input. Raises KilterError if there are none, or a pattern or a folder has none.
    """
    if not tables:
        if len(stated) > 1:
            raise KilterError("pictures are scored one folder, file or stack at a time: name one")
        path = local_path(place_of(stated[0]))
        return [ScoringInput(path, path.name)]
    return [table for one in stated for table in _inputs(place_of(one))]


def _inputs(path: Place) -> list[ScoringInput]:
    if isinstance(path, Address):
        return _remote_inputs(path)
    if str(path) == STDIN or path.is_file() or (path.exists() and not path.is_dir()):
        return [ScoringInput(path, path.name)]
    if path.is_dir():
        tables = [ScoringInput(file, file.relative_to(path).as_posix()) for file in tables_below(path)]
        if not tables:
            endings = ", ".join(_endings())
            raise KilterError(f"the folder {path} holds no tables: their names end in {endings}")
        return tables
    if glob.has_magic(str(path)):
        matches = [Path(match) for match in sorted(glob.glob(str(path), recursive=True))]  # noqa: PTH207
        tables = [one for match in matches for one in _inputs(match)]
        if not tables:
            raise KilterError(f"no file is called like {path}")
        return tables
    return [ScoringInput(path, path.name)]  # whoever opens it says that it is not there


def _remote_inputs(address: Address) -> list[ScoringInput]:
    if address.has_magic():
        tables = [one for match in address.matches() for one in _remote_inputs(match)]
        if not tables:
            raise KilterError(f"no file is called like {address}")
        return tables
    if not address.is_dir():
        return [ScoringInput(address, address.name)]
    below = [(file, file.relative_to(address)) for file in address.files_below()]
    tables = [
        ScoringInput(file, name.as_posix())
        for file, name in below
        if _is_table(file) and not any(part.startswith(HIDDEN) for part in name.parts)
    ]
    if not tables:
        raise KilterError(f"the folder {address} holds no tables: their names end in {', '.join(_endings())}")
    return tables


def tables_below(folder: Path) -> list[Path]:
    """The tables in and below a folder, by the endings of their names. Raises KilterError if it cannot be read."""
    return sorted(_tables(folder))


def _tables(folder: Path) -> Iterator[Path]:
    try:
        for path in folder.iterdir():
            if path.name.startswith(HIDDEN):
                continue
            if path.is_dir():
                yield from _tables(path)
            elif _is_table(path):
                yield path
    except OSError as error:
        raise KilterError(f"the folder {error.filename} cannot be read: {error.strerror}") from None


def _endings() -> tuple[str, ...]:
    return tuple(dict.fromkeys(end for one in FORMATS if one.open and one.modality != "image" for end in one.endings))


def _is_table(path: Place) -> bool:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in PACKINGS:
        suffixes.pop()
    return bool(suffixes) and suffixes[-1] in _endings()


def find_target(
    inputs: Sequence[ScoringInput],
    stated: Sequence[str | Place],
    out: Place,
    form: str | None,
    *,
    divided: bool = False,
) -> Target:
    """Where the verdicts on inputs go: one file, or a folder with a file for each, in the format `form` or its own.

    It is a folder if `out` is one already, or has no ending of a format while there are several inputs or a folder, or
    the work is `divided`.
    Raises KilterError if two inputs would go to the same file, or the folder holds the inputs or lies among them.
    """
    if isinstance(out, Address):
        out.check_writable()
    several = divided or len(inputs) > 1 or any(place_of(one).is_dir() for one in stated)
    named = out.suffix.lower() in (*PACKINGS, *_written_endings())
    if not out.is_dir() and (named or not several or str(out) == STDIN):
        if form is not None:
            raise KilterError(f"the ending of {out} says its format; --format is for a folder")
        return Target((OutputFile(out, tuple(range(len(inputs)))),), None)
    for source in map(place_of, stated):
        if is_below(out, source):
            raise KilterError(f"{out} lies in {source}, whose tables are read: name another folder")
    files: list[OutputFile] = []
    taken: dict[str, ScoringInput] = {}
    for place, one in enumerate(inputs):
        name = output_name(one.name, form)
        if name in taken:
            raise KilterError(
                f"{taken[name].path} and {one.path} would both be written to {out / name}: score them into two folders"
            )
        taken[name] = one
        files.append(OutputFile(out / name, (place,)))
    return Target(tuple(files), out)


def is_below(place: Place, folder: Place) -> bool:
    """Whether a place is a folder that is there, or lies below it."""
    if isinstance(place, Address):
        return isinstance(folder, Address) and place.is_relative_to(folder) and folder.is_dir()
    return isinstance(folder, Path) and folder.is_dir() and place.resolve().is_relative_to(folder.resolve())


def take_shard(target: Target, shard: Shard) -> Target:
    """Every n-th file of a folder, from that of the shard's place on. Raises KilterError if it is no folder."""
    if target.folder is None:
        raise KilterError("shards share the files of a folder: name one with -o")
    return target._replace(files=target.files[shard.place :: shard.of], shard=shard)


def output_name(name: str, form: str | None = None) -> str:
    """What the verdicts on a table are called: as itself, in a format that is not written with another ending."""
    path = PurePosixPath("table" if name == STDIN else name)
    packing = path.suffix if path.suffix.lower() in PACKINGS else ""
    bare = path.with_suffix("") if packing else path
    if form is None and bare.suffix.lower() in _written_endings() and (not packing or _packable(bare.suffix)):
        return str(path)
    written = format_named(form or "csv")
    if bare.suffix.lower() in written.endings:
        return str(bare) + packing * written.packable
    stem = bare.with_suffix("") if bare.suffix.lower() in _endings() else bare
    return f"{stem}{written.endings[0]}{packing * written.packable}"


def _written_endings() -> tuple[str, ...]:
    return tuple(ending for one in FORMATS if one.write for ending in one.endings)


def _packable(ending: str) -> bool:
    return any(one.packable and ending.lower() in one.endings for one in FORMATS)
