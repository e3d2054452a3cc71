"""Kinds of columns that were asked for, against what would have been decided."""

import shlex
from collections.abc import Mapping

import polars as pl

from kilter.service.detector.columns import CategoricalColumn, ClockColumn, NumericColumn, TimestampColumn
from kilter.service.detector.columns.cells import Decision, TrainingCells, as_text
from kilter.service.detector.columns.evidence import Numbers, clocks_of, durations_of
from kilter.service.detector.columns.time_formats import text_format
from kilter.service.detector.errors import KilterError, RecordsError
from kilter.training.config import KINDS, TrainConfig


def choices_of(config: TrainConfig) -> dict[str, str]:
    """The kind that was asked for of each column. Raises KilterError for a column of which two were asked for."""
    kinds: dict[str, str] = {}
    for kind in KINDS:
        for name in getattr(config, kind):
            if kinds.setdefault(name, kind) != kind:
                raise KilterError(f"--{kinds[name]} and --{kind} both name {name!r}: leave one out")
    return kinds


def check_choices(kinds: Mapping[str, str], others: Mapping[str, str]) -> None:
    """Raise KilterError if a column whose kind is asked for has another part to play, by the option in `others`."""
    for name, kind in kinds.items():
        if name in others and (kind, others[name]) != ("ignore", "--exclude"):
            raise KilterError(f"--{kind} and {others[name]} both name {name!r}: leave one out")


def decide_as(kind: str, cells: TrainingCells) -> Decision:
    """The decision about a column of which a kind was asked for. Raises KilterError if it cannot be of it."""
    option = f"--{kind} {shlex.quote(cells.name)}"
    if not cells.count:
        return Decision(None, f"all {cells.rows:,} values are missing, so that {option} has nothing to read")
    decision = {"categorical": _levels, "numeric": _numbers, "timestamp": _times}[kind](cells, option)
    if decision.column is None:
        raise KilterError(f"{option}: {decision.why}")
    return decision._replace(why=f"as was asked for; {decision.why}")


def _levels(cells: TrainingCells, option: str) -> Decision:
    try:
        return CategoricalColumn.of_levels(cells)
    except RecordsError as error:
        raise KilterError(f"{option}: {error.problems[0].message}") from None


def _numbers(cells: TrainingCells, option: str) -> Decision:
    numbers = cells.noted
    if isinstance(numbers, str):
        raise KilterError(f"{option}: {numbers}")
    if numbers is None or numbers.notation == "clock":
        numbers = durations_of(cells.text_counts) if cells.texts is not None else None
    if numbers is not None and numbers.notation != "clock":
        return NumericColumn.of_notation(cells, numbers, numbers.notation)
    if cells.are_numbers and len(cells.values):
        return NumericColumn.of_plain(cells, wanted=True)
    if cells.texts is None or cells.numbers is None:
        raise KilterError(f"{option}: it holds {cells.cells.dtype}, which is no number")
    others = cells.numbers.is_null().to_list()
    raise KilterError(f"{option}: {_first_other(cells, cells.texts, others, 'no number')}")


def _times(cells: TrainingCells, option: str) -> Decision:
    """Times, of a column of any name, or times of day."""
    decision = TimestampColumn.infer(cells, certain=True)
    if decision is not None:
        return decision
    clocks = clocks_of(cells.text_counts) if cells.texts is not None else cells.noted
    if isinstance(clocks, Numbers) and clocks.notation == "clock":
        return ClockColumn.of_clock(cells, clocks)
    if cells.texts is None:
        raise KilterError(f"{option}: it holds {cells.cells.dtype}, which is no time")
    others = [text_format([text]) is None for text in cells.distinct_texts.to_list()]
    if not any(others):
        raise KilterError(f"{option}: its values are times of several formats: write them in one, best in ISO 8601")
    raise KilterError(f"{option}: {_first_other(cells, cells.distinct_texts, others, 'no time')}")


def _first_other(cells: TrainingCells, texts: pl.Series, others: list[bool], what: str) -> str:
    """The first text that is none of what was asked for, with its row."""
    text = texts.to_list()[others.index(True)]
    row = as_text(cells.cells).str.strip_chars().to_list().index(text)
    return f"row {row:,} holds {text!r}, which is {what}: clean the column, or leave the option out"
