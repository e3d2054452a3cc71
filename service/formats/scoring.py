"""Scores the records of a file, of any size and of every modality, and writes them back with their verdicts."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from kilter.service.detector import Detector, KilterError
from kilter.service.detector.manifest import counted
from kilter.service.detector.shifts import ColumnTally, Shift
from kilter.service.detector.sketch import Familiar
from kilter.service.formats.addresses import Address, Place, place_of
from kilter.service.formats.counting import Tally
from kilter.service.formats.discoveries import Discoveries
from kilter.service.formats.first_reading import discover, find_top
from kilter.service.formats.folders import check_folder, png_name, write_png
from kilter.service.formats.inputs import ScoringInput, Shard, Target, find_inputs, find_target, take_shard
from kilter.service.formats.judge import REASONS, BatchJudge, Explained
from kilter.service.formats.partial import Progress, keeping
from kilter.service.formats.provenance import was_trained_on
from kilter.service.formats.rejects import reject_name, rejects_of_stream, with_reject
from kilter.service.formats.runs import FileRun, Only, Watch, unwatched
from kilter.service.formats.sharing import find_shared, without_shared
from kilter.service.formats.source import NO_HINTS, STDIN, Hints
from kilter.service.formats.success import (
    InputCheck,
    check_destination,
    finished_run,
    marker_of,
    plan_of,
    progress_folder,
    publish_parts,
    write_success,
)
from kilter.service.formats.threads import Map
from kilter.service.formats.units import make_outputs
from kilter.service.formats.workplaces import Cluster, ThisProcess, facts_of, shared_path
from kilter.service.formats.writers import is_stream, writing

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
    cluster: Cluster | None = None,
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
    ending. With `shard` only the part of one of several runs is done, of files and of ranges of large ones
    (`formats.sharing`). `hints` say how a text table is written. `mapped` applies the work to blocks; `watch` is told
    of each. With a `cluster` its workplaces do the same parts of the work, each by one (`formats.units`). With `resume`
    a run that was killed is continued (`formats.partial`), here or there, and one that is done is left. Raises
    KilterError if an input cannot be read or lacks a column, or the output cannot be written.
    """
    began = time.perf_counter()
    hints = hints._replace(names=detector.schema.names)
    tables = not detector.schema.columns[0].shape
    inputs = find_inputs(stated, tables=tables)
    divided = shard is not None or cluster is not None
    target = find_target(inputs, stated, place_of(out), form, divided=divided)
    target = target if reject is None else with_reject(target, place_of(reject), stated)
    target = target if shard is None else target._replace(shard=shard)
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
        **{name: value for name, value in hints._asdict().items() if name != "part"},
        "format": form,
    }
    stream = target.folder is None and is_stream(target.files[0].path)
    if cluster is not None:
        _check_shareable(inputs, target, drawn=heatmaps is not None)
    if resume:
        _check_resumable(inputs, stream=stream, drawn=heatmaps is not None)
    made = plan_of(detector, inputs, options) if not stream else {}
    check = InputCheck(inputs, _order(target), twice=fdr is not None or top is not None)
    finished = finished_run(target, made, check) if resume else None
    if finished is not None:
        return Summary(*finished, 0.0, (f"{out} is finished already",))
    places = cluster or ThisProcess(detector, mapped)
    shared = find_shared(inputs, target, hints, places) if divided and tables else {}
    if shard is not None:
        target = take_shard(without_shared(target, shared), shard)
        check = replace(check, order=_order(target))
    check_destination(target, inputs, force=force, resume=resume)
    paths = [one.path for one in inputs]
    discoveries = None if fdr is None else discover(detector, paths, out, fdr, hints, mapped, cluster, shared)
    cut = None if discoveries is None else discoveries.cut
    only: Only = "anomalies" if only_anomalies else "all"
    if top is not None:
        only = find_top(detector, paths, out, top, hints, mapped, cluster, shared)
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
            tally = run.into_files(progress) if cluster is None else Tally()
            if divided:
                tally = make_outputs(run, progress, places, shared)
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
                parts = publish_parts(target, progress) if shard is not None else []
                write_success(target, made, progress.scored, tally, shared, parts)
    notes = [note for place, rows in run.familiar.items() for note in seen_notes(detector, inputs[place].path, rows)]
    notes += condition_notes(detector, run.columns)
    blamed = tuple(Counter(tally.blamed).most_common())
    counts = tally.records, tally.anomalies, tally.errors, tally.first_error
    seconds = time.perf_counter() - began
    return Summary(
        *counts, seconds, (*dict.fromkeys([*run.notes, *notes]),), discoveries, tuple(run.columns.shifts()), blamed
    )


def _order(target: Target) -> list[int]:
    """The places of the inputs of a target, in the order in which they are read."""
    return [place for file in target.files for place in file.inputs]


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


def _check_shareable(inputs: Sequence[ScoringInput], target: Target, *, drawn: bool) -> None:
    """Raise KilterError if an output is not one that several workers can make."""
    if target.reject is not None:
        raise KilterError("records in error are put aside in one run: leave --reject or --engine out")
    if target.folder is None and (len(inputs) > 1 or is_stream(target.files[0].path)):
        raise KilterError("workers share the files of a folder: name one with -o, or leave --engine out")
    if drawn:
        raise KilterError("heat maps are drawn here alone: leave --heatmaps or --engine out")
    shared_path(target.place)
    for one in inputs:
        facts_of(one)


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
