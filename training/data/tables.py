"""Tables as training data: files or a frame, the kinds of their columns, their rows and their labels."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from types import MappingProxyType
from typing import Any, Literal
from zoneinfo import available_timezones

import msgspec
import polars as pl

from kilter.service.detector.arrays import Positions
from kilter.service.detector.columns import BooleanColumn, CategoricalColumn, Column, NumericColumn, kinds
from kilter.service.detector.columns.base import is_missing
from kilter.service.detector.columns.cells import (
    NUMERIC_SHARE,
    Decimal,
    Decision,
    TrainingCells,
    as_text,
    option_in_words,
    parse_series,
)
from kilter.service.detector.columns.evidence import Numbers
from kilter.service.detector.columns.time_formats import time_notice
from kilter.service.detector.errors import KilterError
from kilter.service.detector.findings import Training
from kilter.service.detector.names import check_fields, name_form, named_column
from kilter.service.detector.schema import LeftOut, Schema
from kilter.service.formats.lines import COLUMNS, NEAREST, TAIL
from kilter.service.formats.reading import read_frame, to_table
from kilter.training.data.choices import check_choices, decide_as
from kilter.training.data.source import (
    TOO_MANY_BAD,
    ColumnDecision,
    LabelledRows,
    TrainingData,
    TrainingSource,
    read_labels,
    unlabelled_notes,
    with_labels,
)

MARKERS = ("?", "-", "--", ".", "\\N", "<NA>", "(null)")
"""Texts that mean a missing value where everything else in a column is a number."""
MOST_GROUPS = 512
LEAST_ENTITIES = 30


def read_tables(source: TrainingSource) -> TrainingData:
    """Read and type the training files, or a frame. Raises KilterError for files, columns or labels of no use."""
    if source.normal is not None and source.label is None:
        raise KilterError("--normal is the value of a label column: name the column with --label")
    if source.image_size is not None:
        raise KilterError(f"--image-size is that of pictures, and {source.name} holds a table")
    if source.frame is not None:
        return prepare(as_polars(source.frame), source)
    read = read_frame(source.paths, hints=source.hints, most=source.max_rows, seed=source.seed)
    notes = (*read.notes, *_drawn(read.frame, read.drawn_from))
    data = prepare(read.frame, source, decimal=read.decimal, notes=notes)
    return replace(data, drawn_from=read.drawn_from, numbers=read.numbers, files=read.files)


def _drawn(frame: pl.DataFrame, rows: int) -> list[str]:
    """A note if a frame holds not all of the rows that it was drawn from."""
    if rows == frame.height:
        return []
    return [f"{frame.height:,} of {rows:,} rows are used, drawn at random: --max-rows takes another number."]


def as_polars(frame: Any) -> pl.DataFrame:
    """A table in memory as polars has it. Raises KilterError if it is none.

    Columns of pandas go by NumPy: its own Arrow stream needs a package that need not be there.
    """
    if isinstance(frame, pl.DataFrame):
        return frame
    if hasattr(frame, "to_numpy") and hasattr(frame, "columns") and type(frame).__module__.startswith("pandas"):
        names = [str(name) for name in frame.columns]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise KilterError(f"the column {twice!r} stands in the table twice")
        return pl.DataFrame([_series(name, frame.iloc[:, i]) for i, name in enumerate(names)])
    if hasattr(frame, "__arrow_c_stream__"):
        return pl.DataFrame(frame)
    raise KilterError(
        f"a model is trained on files or on a table of pandas, polars or Arrow, not on {type(frame).__name__}"
    )


def _series(name: str, values: Any) -> pl.Series:
    """A column of pandas: numbers, flags and times as they are, anything else as texts if it is not of one type."""
    array = values.to_numpy()
    if array.dtype.kind in "fiubM":
        return pl.Series(name, array, nan_to_null=True)
    cells = [None if is_missing(value) else value for value in values.tolist()]
    if str(getattr(values.dtype, "tz", None)) not in available_timezones():  # others polars would take to UTC
        cells = [
            cell.isoformat() if isinstance(cell, datetime) and cell.utcoffset() is not None else cell for cell in cells
        ]
    if len({type(cell) for cell in cells if cell is not None}) > 1:
        cells = [None if cell is None else str(cell) for cell in cells]
    return pl.Series(name, cells)


def prepare(
    frame: pl.DataFrame, source: TrainingSource, *, decimal: Literal[".", ","] = ".", notes: tuple[str, ...] = ()
) -> TrainingData:
    """Infer the columns of a frame and type its cells.

    Raises KilterError for columns or labels that cannot be used, or if too many rows cannot be read.
    """
    source = _with_own_names(source, frame.columns)
    others = dict.fromkeys(source.exclude, "--exclude") | ({source.label: "--label"} if source.label else {})
    check_choices(source.kinds, others)
    left_out_names = {*source.exclude, *(name for name, kind in source.kinds.items() if kind == "ignore")}
    appended = (*COLUMNS, TAIL, NEAREST)
    reserved = next((name for name in appended if name in frame.columns and name not in left_out_names), None)
    if reserved is not None:
        raise KilterError(
            f"a column is called {reserved!r}, as one of those that kilter score appends: rename it, or leave it out "
            f"with --exclude {reserved}"
        )
    labels = read_labels(frame, source.label, source.normal) if source.label is not None else None
    entities = None if source.split_by is None else read_entities(frame, source)
    schema, decisions = infer_columns(
        frame,
        decimal=decimal,
        exclude=source.exclude,
        label=source.label,
        split_by=source.split_by,
        choices=source.kinds,
    )
    if source.group_by is not None:
        schema = group_by(schema, frame, source.group_by, source.label)
    table = to_table(schema, frame)
    left_out = unlabelled_notes(labels, "row")
    bad = len({problem.row for problem in table.problems})
    if bad > TOO_MANY_BAD * table.rows:
        raise KilterError(
            f"{bad:,} of {table.rows:,} rows cannot be read, first of all {table.problems[0]}: is this the right file?"
        )
    if bad:
        left_out.append(f"{bad:,} of {table.rows:,} rows were left out, the first for {table.problems[0]}.")
    candidates = candidate_entities(frame, schema, source.label) if source.split_by is None else {}
    return TrainingData(
        table, decisions, schema, labels, (*notes, *left_out), source, entities=entities, candidates=candidates
    )


def read_entities(frame: pl.DataFrame, source: TrainingSource) -> Positions:
    """The number of each row's value of the column `split_by`, (rows,), which -1 stands for where there is none.

    Raises KilterError if it plays another part.
    """
    name = source.split_by or ""
    if name == source.label:
        raise KilterError(f"--split-by names {name!r}, which is the label: it says nothing about where rows come from")
    if name == source.group_by:
        raise KilterError(
            f"--split-by and --group-by both name {name!r}: a threshold for each of its values says nothing about "
            "records of new ones, so leave one of the two out"
        )
    return _codes(frame[name])


def candidate_entities(frame: pl.DataFrame, schema: Schema, label: str | None) -> dict[str, Positions]:
    """The columns that may name entities, by how often values repeat: texts and whole numbers, each twice on average.

    With the number of each row's value, (rows,). Fewer values than a model can be trained on are none.
    """
    candidates = {}
    for cells in frame.iter_columns():
        column = schema.field(cells.name)
        may = cells.dtype == pl.String if column is None else column.counts is not None or column.integer
        if cells.name != label and (may or cells.dtype.is_integer()) and not (column and column.is_time):
            distinct = cells.drop_nulls().n_unique()
            if LEAST_ENTITIES <= distinct <= frame.height / 2:
                candidates[cells.name] = _codes(cells, schema.decimal if column and column.is_number else None)
    return candidates


def _codes(cells: pl.Series, decimal: Decimal | None = None) -> Positions:
    """The number of each value of a column, from 0, in the order of numbers if they have a `decimal`; -1 for none."""
    texts = as_text(cells).str.strip_chars()
    values = texts.set(texts == "", None) if decimal is None else parse_series(texts, decimal)
    codes = values.rank("dense").cast(pl.Int64) - 1
    return codes.fill_null(-1).to_numpy()


def _with_own_names(source: TrainingSource, columns: Sequence[str]) -> TrainingSource:
    """A source that names columns as the table does. Raises KilterError for one that is not there."""

    def own(option: str, name: str | None) -> str | None:
        return None if name is None else named_column(option, name, columns)

    return replace(
        source,
        label=own("--label", source.label),
        exclude=tuple(named_column("--exclude", name, columns) for name in source.exclude),
        group_by=own("--group-by", source.group_by),
        split_by=own("--split-by", source.split_by),
        kinds={named_column(f"--{kind}", name, columns): kind for name, kind in source.kinds.items()},
    )


def infer_columns(
    frame: pl.DataFrame,
    *,
    decimal: Decimal = ".",
    exclude: Collection[str] = (),
    label: str | None = None,
    split_by: str | None = None,
    choices: Mapping[str, str] = MappingProxyType({}),
) -> tuple[Schema, tuple[ColumnDecision, ...]]:
    """Decide the kind of each column: numbers, flags, categories, times, or nothing that a model can use.

    `choices` are the kinds of some, against what they look like.

    The schema has no statistics yet (centre 0, scale 1, no levels); the decisions are in the order of the file. Raises
    KilterError if no column can be used, or none of them varies.
    """
    tokens = Schema((), 0).null_tokens
    tokens += tuple(sorted(_markers(frame, tokens, decimal)))
    columns: list[Column] = []
    left_out: list[LeftOut] = []
    decisions: list[ColumnDecision] = []
    varies = False
    for cells in frame.iter_columns():
        name = cells.name
        if name == label:
            column, why = None, "it is the label"
        elif name == split_by:
            column, why = None, "rows are split by it: new values of it say nothing about a record"
        elif name in exclude or choices.get(name) == "ignore":
            column, why = None, "excluded on request"
        else:
            training_cells = TrainingCells(name, cells, tokens, decimal)
            kind = choices.get(name)
            column, why, may_vary = _decision(training_cells) if kind is None else decide_as(kind, training_cells)
            varies |= may_vary
        if column is None:
            left_out.append(LeftOut(name, why))
        else:
            columns.append(column)
        decisions.append(ColumnDecision(name, "left out" if column is None else column.kind, why))
    if not varies:
        what = "every column that could be used is constant" if columns else "no column can be used"
        reasons = "; ".join(f"{decision.name!r}: {decision.why}" for decision in decisions[:8])
        raise KilterError(f"there is nothing to learn from: {what} ({reasons})")
    schema = Schema(tuple(columns), frame.height, tuple(left_out), null_tokens=tokens, decimal=decimal)
    return schema, tuple(decisions)


def _decision(cells: TrainingCells) -> Decision:
    """The decision of the first kind of column that recognises the cells."""
    if not cells.count:
        return Decision(None, f"all {cells.rows:,} values are missing")
    decisions = (kind.infer(cells) for kind in kinds())
    unknown = Decision(None, f"it holds {cells.cells.dtype}, which is neither number, flag, text nor time")
    decision = next((decision for decision in decisions if decision is not None), unknown)
    notice = "" if decision.column is not None and decision.column.is_time else time_notice(cells)
    if not notice:
        return decision
    return decision._replace(why=f"{decision.why}; {notice}; {option_in_words('timestamp', cells.name)}")


def _markers(frame: pl.DataFrame, tokens: tuple[str, ...], decimal: Decimal) -> set[str]:
    """The markers of missing values that stand among numbers in some column."""
    markers: set[str] = set()
    for cells in frame.iter_columns():
        if cells.dtype != pl.String:
            continue
        texts = cells.str.strip_chars()
        marked = texts.is_in([*MARKERS])
        if not marked.any():
            continue
        others = texts.filter(~marked & (texts != "") & ~texts.is_in([*tokens]))
        plain = parse_series(others, decimal).count() >= NUMERIC_SHARE * max(1, len(others))
        if plain or isinstance(TrainingCells(cells.name, others, tokens, decimal).noted, Numbers):
            markers |= set(texts.filter(marked).to_list())
    return markers


def group_by(schema: Schema, frame: pl.DataFrame, name: str, label: str | None = None) -> Schema:
    """The schema with the column `name` among its fields, put beside those of the model if it is none of them.

    Raises KilterError if there is no such column, or it cannot group records.
    """
    name = named_column("--group-by", name, frame.columns)
    if name == label:
        raise KilterError(f"--group-by names {name!r}, which is the label: new records have none")
    distinct = frame[name].drop_nulls().n_unique()
    if distinct > MOST_GROUPS:
        raise KilterError(
            f"{name!r} has {distinct:,} values, and at most {MOST_GROUPS} can group records: choose a column with fewer"
        )
    column = schema.field(name)
    if column is not None and not column.can_group:
        raise KilterError(f"{name!r} holds times, which do not group records: choose a category, a flag or a number")
    if column is not None:
        return schema
    left_out = tuple(column for column in schema.left_out if column.name != name)
    aside = (_grouping_column(name, frame[name], schema),)
    return msgspec.structs.replace(schema, aside=aside, left_out=left_out)


def _grouping_column(name: str, cells: pl.Series, schema: Schema) -> Column:
    """The kind of a column that only groups: a flag or numbers where every value is one, else text."""
    texts = as_text(cells).str.strip_chars().drop_nulls()
    present = texts.filter((texts != "") & ~texts.is_in([*schema.null_tokens]))
    words = {text.lower() for text in present.unique().head(3).to_list()}
    if cells.dtype == pl.Boolean or (words and words <= {"true", "false"}):
        return BooleanColumn(name, ("true",), ("false",))
    numbers = parse_series(present, schema.decimal)
    if len(present) and not numbers.null_count():
        integer = bool((numbers == numbers.round()).all())
        return NumericColumn(name, center=0.0, scale=1.0, minimum=0.0, maximum=0.0, integer=integer)
    return CategoricalColumn(name, (), ())


def read_labelled_table(source: TrainingSource, schema: Schema, training: Training) -> LabelledRows:
    """Read files as `TrainingModality.read_labelled` does, and the column `group_by` besides those of the schema."""
    hints = source.hints._replace(names=schema.names)
    frame, _, _, notes, rows, *_ = read_frame(source.paths, hints=hints, most=source.max_rows, seed=source.seed)
    notes = (*notes, *_drawn(frame, rows))
    check_fields(source.name, schema.names, frame.columns)
    source = _with_own_names(source, frame.columns)
    label, normal = source.label, source.normal
    trained = None
    if training.label is not None and name_form(training.label) in map(name_form, frame.columns):
        trained = named_column("--label", training.label, frame.columns)
    label = trained if label is None else label
    if label is None and normal is not None:
        raise KilterError("--normal is the value of a label column: name the column with --label")
    if normal is None and label is not None and label == trained:
        normal = training.normal
    if source.group_by is not None:
        schema = group_by(schema, frame, source.group_by, source.label)
    entities = None if source.split_by is None else read_entities(frame, source)
    table = to_table(schema, frame)
    labels = None if label is None else read_labels(frame, label, normal)
    return with_labels(table, schema, labels, notes, "row", f"Rows whose {label!r} is {normal!r}", entities)
