"""Scores the records of a file, of any size and of every modality, and writes them back with their verdicts."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from kilter.service.detector import Detector, KilterError
from kilter.service.detector.arrays import Floats, Positions
from kilter.service.detector.manifest import counted
from kilter.service.detector.shifts import ColumnTally, Shift
from kilter.service.detector.sketch import Familiar
from kilter.service.formats.addresses import Address, Place, place_of
from kilter.service.formats.discoveries import Discoveries, find_discoveries
from kilter.service.formats.folders import check_folder, png_name, write_png
from kilter.service.formats.inputs import ScoringInput, Shard, find_inputs, find_target, take_shard
from kilter.service.formats.judge import REASONS, BatchJudge, Explained
from kilter.service.formats.opening import open_records
from kilter.service.formats.partial import Progress, keeping
from kilter.service.formats.provenance import was_trained_on
from kilter.service.formats.reading import Block, read_batch
from kilter.service.formats.rejects import reject_name, rejects_of_stream, with_reject
from kilter.service.formats.runs import FileRun, Only, Watch, unwatched
from kilter.service.formats.source import NO_HINTS, STDIN, Hints
from kilter.service.formats.success import (
    InputCheck,
    check_destination,
    finished_run,
    marker_of,
    plan_of,
    progress_folder,
    write_success,
)
from kilter.service.formats.threads import Map
from kilter.service.formats.writers import STDOUT, is_stream, writing

HEATMAPS = "heat maps"


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
    blamed: tuple[tuple[str, int], ...] = ()
    """The fields that are the first reason of flagged records, and how often, most often first."""


def score_file(detector: Detector, path: str | Place, out: str | Place, **options: Any) -> Summary:
    """Score the records of one input: see `score_inputs`."""
    return score_inputs(detector, [path], out, **options)


def score_inputs(
    detector: Detector,
    stated: Sequence[str | Place],
    out: str | Place,
    *,
    reasons: Explained = "anomalies",
    limit: int = REASONS,
    force: bool = False,
    resume: bool = False,
    form: str | None = None,
    shard: Shard | None = None,
    only_anomalies: bool = False,
    top: int | None = None,
    columns: Sequence[str] = (),
    strict: bool = False,
    reject: str | Place | None = None,
    fdr: float | None = None,
    tails: bool = False,
    keep: tuple[str, ...] | None = None,
    heatmaps: Path | None = None,
    hints: Hints = NO_HINTS,
    stdin: BinaryIO | None = None,
    stdout: BinaryIO | None = None,
    mapped: Map = map,
    watch: Watch = unwatched,
) -> Summary:
    """Score the records of files, folders and patterns, and write them with their verdicts, whole or not at all.

    `out` is a file, or a folder with a file for each input (`find_target`), in the format `form` or its own; `-` is a
    standard stream. Of a table every row gets five more columns; of pictures a row tells which one it is about. With
    `only_anomalies` no other records are written, and the place of each in its input, from 0, is appended; with `top`
    the so many of all inputs that score highest, for which all is read twice. Of `columns`, if there are any, no others
    are written. With `strict` the first record in error is an error of all; with `reject` all of these go, in their
    order, to a file of their own and to no other. `reasons` says which records get reasons,
    `limit` how many at most. With `fdr` all is read twice, and the anomalies are those that are declared at this
    false-discovery rate (`find_discoveries`). With `tails` tail probabilities are a sixth column. With `keep`, so are
    the nearest normals of the anomalies, in which the fields of these names stay as they are. Heat maps of all pictures
    go into a folder, each by its picture's path in the other one, and with `.png` behind it where that has another
    ending. With `shard` only the files of one of several runs are written (`take_shard`). `hints` say how a text table
    is written. `mapped` applies the work to blocks; `watch` is told of each. With `resume` a run that was killed is
    continued (`formats.partial`), and one that is done is left. Raises KilterError if an input cannot be read or lacks
    a column, or the output cannot be written.
    """
    began = time.perf_counter()
    hints = hints._replace(names=detector.schema.names)
    inputs = find_inputs(stated, tables=not detector.schema.columns[0].shape)
    target = find_target(inputs, stated, place_of(out), form)
    target = target if reject is None else with_reject(target, place_of(reject), stated)
    target = target if shard is None else take_shard(target, shard)
    if keep is not None:
        if fdr is not None:
            raise KilterError(
                "a nearest normal is one by the model's own threshold: leave --fdr or --nearest-normal out"
            )
        detector.normals.kept(keep)  # says what is wrong before anything is read
    if strict and reject is not None:
        raise KilterError("--strict ends at the first record in error, and --reject puts them all aside: leave one out")
    if top is not None and only_anomalies:
        raise KilterError(
            "--top writes the highest scores, flagged or not, and --only-anomalies what is flagged: leave one out"
        )
    drawer = _drawer(detector, heatmaps, inputs[0].path, force=force)
    options = {
        "reasons": f"{limit} of {reasons}",
        "fdr": fdr,
        "tails": tails,
        "keep": keep,
        "only_anomalies": only_anomalies,
        "top": top,
        "columns": list(columns),
        "reject": reject_name(target),
        **hints._asdict(),
        "format": form,
    }
    stream = target.folder is None and is_stream(target.files[0].path)
    if resume:
        _check_resumable(inputs, stream=stream, drawn=heatmaps is not None)
    made = plan_of(detector, inputs, options) if not stream else {}
    order = [place for file in target.files for place in file.inputs]
    check = InputCheck(inputs, order, twice=fdr is not None or top is not None)
    finished = finished_run(target, made, check) if resume else None
    if finished is not None:
        return Summary(*finished, 0.0, (f"{out} is finished already",))
    check_destination(target, inputs, force=force, resume=resume)
    discoveries = None if fdr is None else discover(detector, [one.path for one in inputs], out, fdr, hints, mapped)
    cut = None if discoveries is None else discoveries.cut
    only: Only = "anomalies" if only_anomalies else "all"
    if top is not None:
        only = find_top(detector, inputs, out, top, hints, mapped)
    judge = BatchJudge(detector, reasons, limit, cut=cut, tails=tails, drawings=heatmaps is not None, keep=keep)
    run = FileRun(
        detector,
        inputs,
        target,
        judge,
        hints,
        mapped,
        stdin,
        hashed=resume or target.folder is not None,
        only=only,
        kept=columns or None,
        strict=strict,
        draw=drawer,
        watch=watch,
    )
    if stream:
        with writing(str(out), stdout) as output, rejects_of_stream(target) as rejects:
            tally = run.into_stream(output, rejects)
    else:
        folder, marker = progress_folder(target), marker_of(target)
        with keeping(Progress(folder, made, resume=resume, check=check, marker=marker), str(out)) as progress:
            tally = run.into_files(progress)
            if (
                discoveries is not None
                and shard is None
                and (tally.records - tally.errors, tally.anomalies)
                != (
                    discoveries.judged,
                    discoveries.declared,
                )
            ):
                raise KilterError(f"{out}: its input has changed while it was read: score it again")
            if resume or target.folder is not None:
                write_success(target, made, progress.scored, tally)
    notes = [note for place, rows in run.familiar.items() for note in seen_notes(detector, inputs[place].path, rows)]
    notes += condition_notes(detector, run.columns)
    blamed = tuple(Counter(tally.blamed).most_common())
    counts = tally.records, tally.anomalies, tally.errors, tally.first_error
    seconds = time.perf_counter() - began
    return Summary(
        *counts, seconds, (*dict.fromkeys([*run.notes, *notes]),), discoveries, tuple(run.columns.shifts()), blamed
    )


def condition_notes(detector: Detector, columns: ColumnTally) -> list[str]:
    """A note on records whose value of the column that a model is conditional on says nothing to it."""
    name = detector.manifest.network.condition
    count = 0 if name is None else columns.unknown(name)
    if not count:
        return []
    return [
        f"{counted(count, 'record')} with a {name!r} that training never saw, or without one: the network judged the "
        "other fields by what is normal whatever the value"
    ]


def _drawer(detector: Detector, folder: Path | None, path: Place, *, force: bool) -> Callable[[str, bytes], None]:
    """What writes heat maps into a folder. Raises KilterError if they cannot be written there."""
    if folder is None:
        return lambda name, content: None
    if not detector.modality.draws:
        raise KilterError(f"heat maps are of pictures, and the model {detector.name} judges records of fields")
    check_folder(folder, Path(str(path)), HEATMAPS, force=force)
    drawn: set[str] = set()
    return lambda name, content: write_png(folder, png_name(name, drawn), content, HEATMAPS)


def _check_resumable(inputs: Sequence[ScoringInput], *, stream: bool, drawn: bool) -> None:
    if stream or any(str(one.path) == STDIN for one in inputs):
        raise KilterError("what is read from or written to a stream cannot be resumed: name files")
    if drawn:
        raise KilterError("heat maps cannot be resumed: leave --resume out")


def seen_notes(detector: Detector, path: str | Place, familiar: Familiar) -> list[str]:
    """A sentence if a file, or most of its records, were in the training of a model; no address is fetched for that."""
    there = not isinstance(path, Address) and str(path) != STDIN
    if there and was_trained_on(detector.manifest.training, Path(str(path))):
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


def _check_twice(what: str, paths: Sequence[Place], out: str | Place) -> None:
    """Raise KilterError, which says what needs it, if files cannot be read twice, or are written before that."""
    if str(out) == STDOUT:
        raise KilterError(f"{what} needs a file to write to, not standard output: name one with -o")
    if any(str(path) == STDIN or (path.exists() and not path.is_file() and not path.is_dir()) for path in paths):
        raise KilterError(f"{what} needs a file that can be read twice, not a stream: save it first")


def find_top(
    detector: Detector,
    inputs: Sequence[ScoringInput],
    out: str | Place,
    count: int,
    hints: Hints = NO_HINTS,
    mapped: Map = map,
) -> dict[int, Positions]:
    """Read inputs a first time, to know the places of the records that score highest, by the place of their input.

    Of equal scores the first count. Raises KilterError if an input cannot be read twice, or `out` is no file.
    """
    paths = [one.path for one in inputs]
    _check_twice("--top", paths, out)
    best = np.empty((0, 3))  # the score, the input and the place of each

    def scores(task: tuple[int, Block]) -> Floats:
        place, block = task
        batch = block.read()
        table = read_batch(detector.schema, batch)
        score = detector.score(table, errors="mark").score if table.rows else np.empty(0)
        rows = np.stack([score, np.full(len(score), place), batch.first + np.arange(len(score))], axis=1)
        return highest(rows[~np.isnan(score)], count)

    for some in mapped(scores, _blocks(detector, paths, hints)):
        best = highest(np.concatenate([best, some]), count)
    return {place: np.sort(best[best[:, 1] == place, 2]).astype(np.int64) for place in range(len(inputs))}


def _blocks(detector: Detector, paths: Sequence[Place], hints: Hints) -> Iterator[tuple[int, Block]]:
    """The blocks of files, each with the place of its file."""
    for place, path in enumerate(paths):
        with open_records(detector, path, None, hints) as reader:
            yield from ((place, block) for block in reader.blocks())


def highest(rows: Floats, count: int) -> Floats:
    """The `count` rows, (n, columns), of the largest first number, of equal ones the first, largest first."""
    kept: Floats = rows[np.argsort(-rows[:, 0], kind="stable")[:count]]
    return kept


def discover(
    detector: Detector,
    paths: Sequence[Place],
    out: str | Place,
    fdr: float,
    hints: Hints = NO_HINTS,
    mapped: Map = map,
) -> Discoveries:
    """Read files a first time, to know what is declared in all of them together at a false-discovery rate.

    Raises KilterError if one cannot be read twice, or `out` is no file: nothing may be written before all is read.
    """
    if not 0 < fdr < 1:
        raise KilterError(f"a false-discovery rate is between 0 and 1, like 0.05; not {fdr:g}")
    _check_twice("a false-discovery rate", paths, out)
    calibrations = (detector.calibration, *(detector.groups.calibrations.values() if detector.groups else ()))
    counts: Counter[float] = Counter()

    def p_values(task: tuple[int, Block]) -> Floats:
        table = read_batch(detector.schema, task[1].read())
        return detector.score(table, errors="mark").p_value if table.rows else np.empty(0)

    for some in mapped(p_values, _blocks(detector, paths, hints)):
        counts.update(some[~np.isnan(some)].tolist())
    return find_discoveries(counts, fdr, 1 / (max(calibration.size for calibration in calibrations) + 1))
