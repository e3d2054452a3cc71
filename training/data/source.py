"""What to train on: files, folders or a frame, which records of them are normal, and what a manifest says of them."""

import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from kilter.service.detector.arrays import Mask, Positions
from kilter.service.detector.errors import KilterError
from kilter.service.detector.findings import SourceFile
from kilter.service.detector.inputs import Table, take
from kilter.service.detector.schema import Schema
from kilter.service.formats.addresses import Address, Place, file_bytes, place_of
from kilter.service.formats.inputs import find_inputs, tables_below
from kilter.service.formats.pictures import find_pictures
from kilter.service.formats.provenance import source_bytes, source_digest
from kilter.service.formats.source import NO_HINTS, Hints

TOO_MANY_BAD = 0.2  # training stops when more than this share of the rows cannot be read
LISTED_LABELS = 8

Progress = Callable[[int, int], None]
"""Called with the number of pictures that are decoded and of all."""


def silent(done: int, total: int) -> None:
    """A `Progress` that says nothing."""


@dataclass(frozen=True)
class TrainingSource:
    """What to train on, and which of its columns play a part of their own."""

    paths: tuple[Place, ...] = ()
    label: str | None = None
    normal: str | None = None
    exclude: tuple[str, ...] = ()
    group_by: str | None = None
    """Column whose values have thresholds of their own."""
    split_by: str | None = None
    """Column whose values, such as customers or machines, are each on one side of every split."""
    image_size: tuple[int, int] | None = None
    """Height and width that pictures are brought to; chosen by the pictures if not given."""
    kinds: Mapping[str, str] = field(default_factory=dict)
    """What columns are to be taken for, whatever they look like: `categorical`, `numeric`, `timestamp` or `ignore`."""
    frame: Any = None
    """A table in memory instead of paths: of pandas, or any with an Arrow C stream, like those of polars."""
    hints: Hints = NO_HINTS
    """How text tables are written."""
    max_rows: int = sys.maxsize
    """Most rows of tables in files that are used: of more a sample, drawn by `seed`."""
    seed: int = 0

    @property
    def name(self) -> str:
        """The name that error messages use."""
        return str(self.paths[0]) if self.paths else "the frame"


class Labels(NamedTuple):
    """Which rows are anomalous and which have a label at all, (rows,) each."""

    anomalous: Mask
    labelled: Mask


def read_labels(frame: pl.DataFrame, column: str, normal: str | None) -> Labels:
    """Read the labels of a frame: a row is normal where its label, as text, is `normal`, unlabelled where it is empty.

    Raises KilterError if the value is not there.
    """
    values = frame[column].cast(pl.String).str.strip_chars().fill_null("")
    counts = values.value_counts(sort=True)
    listed = ", ".join(f"{value!r} ({count:,})" for value, count in counts.head(LISTED_LABELS).iter_rows())
    if normal is None:
        raise KilterError(f"say which value of {column!r} is normal, with --normal; it has {listed}")
    is_normal = values.is_in([normal, f"{normal}.0", normal.removesuffix(".0")]).to_numpy()
    if not is_normal.any():
        raise KilterError(f"no row has {normal!r} in {column!r}; it has {listed}")
    labelled = (values != "").to_numpy() | is_normal
    return Labels(~is_normal & labelled, labelled)


class ColumnDecision(NamedTuple):
    """The kind that a column of the training files was taken for, or `left out`, and why."""

    name: str
    kind: str
    why: str


@dataclass(frozen=True)
class TrainingData:
    """The rows of the training files, typed, and what was decided about their columns."""

    table: Table
    decisions: tuple[ColumnDecision, ...]
    draft: Schema
    labels: Labels | None
    notes: tuple[str, ...]
    source: TrainingSource
    names: tuple[str, ...] = ()
    """The names of rows, if they have any: the path of a picture in its folder."""
    entities: Positions | None = None
    """The number of each row's value of `split_by`, (rows,), which -1 stands for where there is none."""
    candidates: Mapping[str, Positions] = field(default_factory=dict)
    """Columns that may name entities, with the number of each row's value, (rows,)."""
    copies: Mask | None = None
    """Whether each row is a copy of another one, which counts instead of it, (rows,); None where none is."""
    drawn_from: int | None = None
    """Rows of the files that these were drawn from; None of rows that were in memory."""
    numbers: Positions | None = None
    """The number of each row in its file, from 0, (rows,); None of those that are all there, in their order."""
    files: Positions | None = None
    """The place of that file among the source's, (rows,)."""

    @property
    def faultless(self) -> Mask:
        """(rows,): whether a row has no problem."""
        good = np.ones(self.table.rows, bool)
        good[[problem.row for problem in self.table.problems if problem.row is not None]] = False
        return good

    @property
    def readable(self) -> Mask:
        """(rows,): whether a row has no problem, is no copy and, where there are labels, has a label."""
        good = self.faultless if self.labels is None else self.faultless & self.labels.labelled
        return good if self.copies is None else good & ~self.copies

    @property
    def normal(self) -> Positions:
        """The positions of the readable rows that are normal, or count as such."""
        return np.flatnonzero(self.readable if self.labels is None else self.readable & ~self.labels.anomalous)

    @property
    def anomalous(self) -> Positions:
        """The positions of the readable rows that are labelled as anomalies."""
        return np.flatnonzero(self.readable & self.labels.anomalous) if self.labels else np.empty(0, np.int64)

    @property
    def anomaly_rate(self) -> float:
        """The share of labelled anomalies among the readable rows."""
        return len(self.anomalous) / max(1, int(self.readable.sum()))

    @property
    def share(self) -> float:
        """The share of the rows of the files that these are."""
        return 1.0 if self.drawn_from is None else self.table.rows / self.drawn_from

    def lines(self) -> list[str]:
        """What was decided about the columns, and the notes, a line each."""
        return [*(f"  {name}: {kind} ({why})" for name, kind, why in self.decisions), *self.notes]


class LabelledRows(NamedTuple):
    """Rows of a file, read by the schema of a model, and which are anomalous, (rows,), None where nothing is labelled.

    Rows without a label, where others have one, are left out.
    """

    table: Table
    schema: Schema
    anomalous: Mask | None
    notes: tuple[str, ...]
    """How the file was read and what its labels are taken to mean, in sentences."""

    entities: Positions | None = None
    """The number of each row's value of `split_by`, (rows,)."""

    @property
    def normal_entities(self) -> Positions | None:
        """Those of the rows that count as normal."""
        return self.entities if self.entities is None or self.anomalous is None else self.entities[~self.anomalous]

    def parts(self) -> tuple[Table, Table]:
        """The rows that count as normal, and those that are labelled as anomalies."""
        anomalous = np.zeros(self.table.rows, bool) if self.anomalous is None else self.anomalous
        return take(self.table, ~anomalous), take(self.table, anomalous)


def with_labels(
    table: Table,
    schema: Schema,
    labels: Labels | None,
    notes: tuple[str, ...],
    record: str,
    normal: str,
    entities: Positions | None = None,
) -> LabelledRows:
    """The rows of a table that have a label, with notes.

    The notes call a row a `record`, a row or a picture, and say which count as `normal`.
    """
    if labels is None:
        return LabelledRows(table, schema, None, (*notes, f"No labels: every {record} counts as normal."), entities)
    notes = (*notes, f"{normal} count as normal, all others as anomalies.", *unlabelled_notes(labels, record))
    entities = None if entities is None else entities[labels.labelled]
    return LabelledRows(take(table, labels.labelled), schema, labels.anomalous[labels.labelled], notes, entities)


def unlabelled_notes(labels: Labels | None, record: str) -> list[str]:
    """How many rows have no label, in a sentence if there are any; `record` is what a row is called."""
    count = 0 if labels is None else int((~labels.labelled).sum())
    return [f"{record.capitalize()}s without a label, left out: {count:,}."] if count else []


def provenance(path: Place) -> SourceFile:
    """The entry of a manifest for a training file, or for a folder of pictures."""
    if isinstance(path, Address):
        return SourceFile(path.name, source_bytes(path), source_digest(path))
    if not path.is_dir():
        return SourceFile(path.resolve().name, path.stat().st_size, source_digest(path))
    return SourceFile(path.resolve().name, source_bytes(path), source_digest(path), len(find_pictures(path).pictures))


def with_tables(paths: Sequence[Place]) -> tuple[Place, ...]:
    """The paths, with all tables in and below a folder instead of one that holds tables and no pictures."""
    return tuple(one for path in map(place_of, paths) for one in _with_tables(path))


def _with_tables(path: Place) -> Sequence[Place]:
    if isinstance(path, Address):
        return [one.path for one in find_inputs([path])]
    tables = tables_below(path) if path.is_dir() and not find_pictures(path).pictures else []
    return tables or [path]


def check_sources(paths: Sequence[Place]) -> None:
    """Raise KilterError if two files or folders have the same content, whatever they are called."""
    # What is not there, or is empty, is for the reader to refuse.
    folders = [path for path in paths if isinstance(path, Path) and path.is_dir() and find_pictures(path).pictures]
    sizes = {path: file_bytes(path) for path in paths if path.is_file()}
    files = [path for path in paths if sizes.get(path)]
    counts = Counter(sizes[path] for path in files)
    names: dict[str, Place] = {}
    for path in (*(folders if len(folders) > 1 else ()), *(path for path in files if counts[sizes[path]] > 1)):
        digest = source_digest(path)
        if digest in names:
            again = "is named twice" if path == names[digest] else f"has the same content as {names[digest]}"
            raise KilterError(f"{path} {again}: name it once, since rows that are given again tell nothing new")
        names[digest] = path
