"""Records in error that go to a file of their own, in their order: where each stands, why, and what it holds.

While they come they are lines of NDJSON, to which a run that was killed can add; the file is made of these at the end.
"""

import heapq
import json
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import msgspec
import polars as pl

from kilter.service.detector.errors import KilterError
from kilter.service.formats import Format
from kilter.service.formats.addresses import Address, Place, place_of
from kilter.service.formats.inputs import Target, is_below
from kilter.service.formats.lines import FILE, ROW
from kilter.service.formats.reading import Batch
from kilter.service.formats.whole_files import whole_file
from kilter.service.formats.writers import is_stream, output_format, packed

ERROR, RECORD = "kilter_error", "kilter_record"
REJECTED = "_rejects"
"""How the files begin in which shards keep their records in error."""
SCHEMA: dict[str, pl.DataType] = {FILE: pl.String(), ROW: pl.Int64(), ERROR: pl.String(), RECORD: pl.String()}
SINKS: dict[str, Callable[[pl.LazyFrame, Any], Any]] = {
    "csv": lambda rows, file: rows.sink_csv(file),
    "ndjson": lambda rows, file: rows.sink_ndjson(file),
    "parquet": lambda rows, file: rows.sink_parquet(file),
    "arrow": lambda rows, file: rows.sink_ipc(file, compression="lz4"),
}
"""What writes rows in a format."""


def with_reject(target: Target, reject: Place, stated: Sequence[str | Place]) -> Target:
    """A target whose records in error go to a file of their own; `stated` is what is read.

    Raises KilterError if that is a stream, or a place that means something else.
    """
    out = target.place
    if is_stream(reject):
        raise KilterError(f"--reject {reject} is a stream: name a file, which appears whole")
    output_format(reject)  # says what is wrong with its ending
    if _absolute(reject) == _absolute(out):
        raise KilterError(f"{reject} is where the verdicts go: name another file for records in error")
    folders = [folder for folder in map(place_of, stated) if is_below(reject, folder)]
    if target.folder is not None and f"{_absolute(reject)}/".startswith(f"{_absolute(target.folder)}/"):
        folders.append(target.folder)
    if folders:
        raise KilterError(f"{reject} lies in {folders[0]}, whose files are tables: name a file in another folder")
    return target._replace(reject=reject)


def _absolute(place: Place) -> str:
    return str(place).rstrip("/") if isinstance(place, Address) else str(place.resolve())


def reject_lines(source: str, batch: Batch, errors: pl.Series) -> bytes:
    """Those records of a batch that have an error, each as a line; `source` is the name of their input."""
    rows = errors.is_not_null().arg_true()
    if not len(rows):
        return b""
    columns = {
        FILE: [source] * len(rows),
        ROW: (rows + batch.first).cast(pl.Int64),
        ERROR: errors.gather(rows),
        RECORD: [record_text(batch, row) for row in rows],
    }
    return pl.DataFrame(columns, schema=SCHEMA).write_ndjson().encode()


def record_text(batch: Batch, row: int) -> str:
    """What a record holds: its own text, or its values as JSON where it has none."""
    if not batch.raw:
        return json.dumps(_finite(batch.frame.row(row, named=True)), default=str, ensure_ascii=False)
    raw = batch.raw[row]
    text = raw.decode(errors="backslashreplace") if batch.dialect is None else batch.dialect.decoded(raw)
    return text.rstrip("\r\n")


def _finite(value: Any) -> Any:
    """A value with texts for the numbers that JSON does not have."""
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list):
        return [*map(_finite, value)]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def finish_rejects(target: Target, lines: Path) -> None:
    """Make the file of records in error of a run, of their lines; of a shard these are kept in the folder."""
    path = reject_file(target)
    if path is not None and target.shard is None:
        with whole_file(path) as file:
            write_rejects(lines, file, *output_format(path))
    elif path is not None:
        with whole_file(path) as file, lines.open("rb") as source:
            shutil.copyfileobj(source, file)


@contextmanager
def rejects_of_stream(target: Target) -> Iterator[BinaryIO | None]:
    """Where lines of records in error are written while the verdicts go to a stream; None if that is not wanted."""
    if target.reject is None:
        yield None
        return
    with tempfile.NamedTemporaryFile(prefix="kilter-") as lines:
        yield lines  # type: ignore[misc]
        lines.flush()
        finish_rejects(target, Path(lines.name))


def reject_file(target: Target) -> Place | None:
    """The file in which a run leaves the records in error; None if they are written like others."""
    if target.reject is None or target.shard is None or target.folder is None:
        return target.reject
    return target.folder / f"{REJECTED}-{target.shard}"


def reject_name(target: Target) -> str | None:
    """The path of the file for records in error, from where the folder or file with the verdicts is."""
    if isinstance(target.reject, Path) and isinstance(target.place, Path):
        return os.path.relpath(target.reject, target.place.parent)
    return None if target.reject is None else str(target.reject)


def merge_rejects(
    folder: Place, shards: Sequence[Place], parts: Sequence[Path], order: Mapping[str, int], name: str
) -> None:
    """Make the file of records in error of those of shards of a folder, in the `order` of their inputs, by name.

    Those of `parts` of inputs are in order already.
    """
    path = place_of(name)
    if isinstance(path, Path) and isinstance(folder, Path):
        path = Path(os.path.normpath(folder.absolute().parent / name))
    if isinstance(path, Path) and not path.absolute().parent.is_dir():
        raise KilterError(f"there is no folder {path.absolute().parent} to write {path.name} to: make it first")
    with ExitStack() as stack:
        files: list[Iterable[bytes]] = [stack.enter_context(_opened(shard)) for shard in shards]
        files.append(line for part in parts for line in part.read_bytes().splitlines(keepends=True))
        lines = stack.enter_context(tempfile.NamedTemporaryFile(prefix="kilter-"))
        lines.writelines(heapq.merge(*files, key=lambda line: order[msgspec.json.decode(line)[FILE]]))
        lines.flush()
        write_rejects(Path(lines.name), stack.enter_context(whole_file(path)), *output_format(path))


def _opened(part: Place) -> BinaryIO:
    if isinstance(part, Path):
        return part.open("rb")
    file = tempfile.TemporaryFile(prefix="kilter-")  # noqa: SIM115
    with part.open_file() as source:
        shutil.copyfileobj(source, file)
    file.seek(0)
    return cast(BinaryIO, file)


def write_rejects(lines: Path, file: BinaryIO, form: Format, packing: str = "") -> None:
    """Write the records of a file of lines in a format, compressed by an ending."""
    rows = pl.scan_ndjson(lines, schema=SCHEMA) if lines.stat().st_size else pl.LazyFrame(schema=SCHEMA)
    with packed(file, packing) as stream:
        SINKS[form.name](rows, stream)
