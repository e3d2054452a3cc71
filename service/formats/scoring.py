"""Scores the records of a file, of any size and of every modality, and writes them back with their verdicts."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from kilter.service.detector import Detector, KilterError
from kilter.service.detector.arrays import Floats
from kilter.service.detector.names import check_fields
from kilter.service.detector.schema import Schema
from kilter.service.detector.shifts import ColumnTally, Shift
from kilter.service.detector.sketch import Familiar
from kilter.service.formats.discoveries import Discoveries, find_discoveries
from kilter.service.formats.judge import REASONS, BatchJudge, Explained
from kilter.service.formats.lines import COLUMNS, TAIL
from kilter.service.formats.pictures import PictureReader
from kilter.service.formats.provenance import was_trained_on
from kilter.service.formats.reading import Block, Reader, open_table, read_batch
from kilter.service.formats.source import NO_HINTS, STDIN, Hints
from kilter.service.formats.threads import Map
from kilter.service.formats.work import BlockWork
from kilter.service.formats.writers import (
    STDOUT,
    OutputPart,
    check_output,
    compress_part,
    output_format,
    writing,
)

READERS: dict[str, Callable[[str | Path, BinaryIO | None, Hints], Reader]] = {
    "table": open_table,
    "image": lambda path, _, __: PictureReader(Path(path)),
}
"""What opens the records of a modality."""


class Summary(NamedTuple):
    """What became of a file."""

    records: int
    anomalies: int
    errors: int
    """Records that could not be scored."""
    first_error: str
    seconds: float
    notes: tuple[str, ...]
    discoveries: Discoveries | None = None
    """What was declared, if there is a false-discovery rate."""
    shifts: tuple[Shift, ...] = ()
    """What most values of a column are, where they are not those of training."""


def score_file(
    detector: Detector,
    path: str | Path,
    out: str | Path,
    *,
    reasons: Explained = "anomalies",
    limit: int = REASONS,
    force: bool = False,
    fdr: float | None = None,
    tails: bool = False,
    heatmaps: Path | None = None,
    hints: Hints = NO_HINTS,
    stdin: BinaryIO | None = None,
    stdout: BinaryIO | None = None,
    mapped: Map = map,
) -> Summary:
    """Score the records of `path` and write them with their verdicts to `out`, whole or not at all.

    `-` is a standard stream. Of a table every row gets five more columns; of pictures a row tells which one it is
    about. `reasons` says which records get reasons, `limit` how many at most. With `fdr` the file is read twice, and
    the anomalies are those that are declared at this false-discovery rate (`find_discoveries`). With `tails` tail
    probabilities are a sixth column. Heat maps of all pictures go into a folder, each by its picture's path in the
    other one, and with `.png` behind it where that has another ending. `hints` say how a text table is written.
    `mapped` applies the judge to the blocks of the file. Raises KilterError if the file cannot be read or lacks a
    column, or the output cannot be written.
    """
    began = time.perf_counter()
    if heatmaps is not None:
        if not detector.modality.draws:
            raise KilterError(f"heat maps are of pictures, and the model {detector.name} judges records of fields")
        _check_heatmaps(heatmaps, Path(path), force=force)
    form, packing = output_format(out)
    check_output(out, path, force=force)
    hints = hints._replace(names=detector.schema.names)
    discoveries = None if fdr is None else discover(detector, path, out, fdr, hints, mapped)
    cut = None if discoveries is None else discoveries.cut
    judge = BatchJudge(detector, reasons, limit, cut=cut, tails=tails, drawings=heatmaps is not None)
    records = anomalies = errors = 0
    first_error, familiar = "", Familiar()
    tally = ColumnTally(detector.modality, detector.reference)
    drawn: set[str] = set()
    with ExitStack() as stack:
        reader = stack.enter_context(READERS[detector.modality.name](path, stdin, hints))
        further = (TAIL,) if tails else ()
        _check_columns(reader, detector.schema)
        check_appended(reader, further)
        output = stack.enter_context(writing(out, stdout))
        writer = form.writer()(output, reader, detector.schema, further)
        work = BlockWork(judge, writer, partial(compress_part, packing=packing))
        writer.put(OutputPart(work.pack(writer.begin())))
        for outcome in mapped(work, reader.blocks()):
            if outcome.counts is not None:
                tally.add(outcome.counts)
            familiar = familiar.joined(outcome.familiar)
            writer.put(outcome.part)
            for name, drawing in outcome.drawings:
                if heatmaps is not None:
                    _write_heatmap(heatmaps, _map_name(name, drawn), drawing)
            first_error = first_error or outcome.first_error
            records, anomalies = records + outcome.records, anomalies + outcome.anomalies
            errors += outcome.errors
        if discoveries is not None and (records - errors, anomalies) != (discoveries.judged, discoveries.declared):
            raise KilterError(f"{path} has changed while it was read: score it again once nothing writes to it")
        writer.finish()
    seconds = time.perf_counter() - began
    shifts = tuple(tally.shifts())
    notes = (*reader.notes, *seen_notes(detector, path, familiar))
    return Summary(records, anomalies, errors, first_error, seconds, notes, discoveries, shifts)


def seen_notes(detector: Detector, path: str | Path, familiar: Familiar) -> list[str]:
    """A sentence if a file, or most of its records, were in the training of a model."""
    if str(path) != STDIN and was_trained_on(detector.manifest.training, Path(path)):
        what = f"{path} is a file or folder that the model was trained on"
    elif detector.sketch is not None and detector.sketch.holds_most(familiar):
        what = (
            f"most records of {path} were in the training ({familiar.known:,} of {familiar.tested:,} that can be "
            "looked up)"
        )
    else:
        return []
    return [
        f"{what}: such records score lower, and are flagged less often, than new ones, so this says little about how "
        "strange they are"
    ]


def discover(
    detector: Detector, path: str | Path, out: str | Path, fdr: float, hints: Hints = NO_HINTS, mapped: Map = map
) -> Discoveries:
    """Read a file a first time, to know what is declared at a false-discovery rate.

    Raises KilterError if it cannot be read twice, or `out` is no file: nothing may be written before all is read.
    """
    if not 0 < fdr < 1:
        raise KilterError(f"a false-discovery rate is between 0 and 1, like 0.05; not {fdr:g}")
    if str(out) == STDOUT:
        raise KilterError("a false-discovery rate needs a file to write to, not standard output: name one with -o")
    place = Path(path)
    if str(path) == STDIN or (place.exists() and not place.is_file() and not place.is_dir()):
        raise KilterError("a false-discovery rate needs a file that can be read twice, not a stream: save it first")
    calibrations = (detector.calibration, *(detector.groups.calibrations.values() if detector.groups else ()))
    counts: Counter[float] = Counter()

    def p_values(block: Block) -> Floats:
        table = read_batch(detector.schema, block.read())
        return detector.score(table, errors="mark").p_value if table.rows else np.empty(0)

    with READERS[detector.modality.name](path, None, hints) as reader:
        _check_columns(reader, detector.schema)
        for some in mapped(p_values, reader.blocks()):
            counts.update(some[~np.isnan(some)].tolist())
    return find_discoveries(counts, fdr, 1 / (max(calibration.size for calibration in calibrations) + 1))


def _check_columns(reader: Reader, schema: Schema) -> None:
    if not schema.columns[0].shape:  # otherwise a record is the one cell that a reader gives
        check_fields(reader.name, schema.names, reader.columns)


def check_appended(reader: Reader, further: Sequence[str] = ()) -> None:
    """Raise KilterError if a table has a column of a name that is to be appended, or `further` ones."""
    present = [name for name in (*COLUMNS, *further) if name in reader.columns]
    if present:
        remedy = "score the original file, or take that column out"
        raise KilterError(f"{reader.name} has a column {present[0]!r} already: {remedy}")


def _check_heatmaps(folder: Path, path: Path, *, force: bool) -> None:
    """Raise KilterError if heat maps must not be written there."""
    if folder.exists() and not folder.is_dir():
        raise KilterError(f"{folder} is a file: name a folder for the heat maps")
    if path.is_dir() and folder.resolve().is_relative_to(path.resolve()):
        raise KilterError(f"{folder} lies in {path}, whose pictures are read: name another folder for the heat maps")
    if folder.is_dir() and any(folder.iterdir()) and not force:
        raise KilterError(f"{folder} holds files already: choose another folder, or write to it with --force")


def _map_name(picture: str, drawn: set[str]) -> str:
    """The path of a picture's heat map, which joins those that are drawn: it is no other picture's."""
    name = picture if picture.lower().endswith(".png") and picture not in drawn else f"{picture}.png"
    drawn.add(name)
    return name


def _write_heatmap(folder: Path, name: str, content: bytes) -> None:
    """Write a heat map by its path, never outside of the folder."""
    target = folder / name
    try:
        if not target.resolve().is_relative_to(folder.resolve()):
            raise KilterError(f"{target} leads out of {folder}, by a link: name another folder for the heat maps")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    except OSError as error:
        raise KilterError(f"cannot write {target}: {error.strerror}") from None
