"""The report of a training run: one HTML file that needs nothing else."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jinja2

from kilter.service.detector.explanation import Reason
from kilter.service.detector.inputs import take
from kilter.service.detector.promise import in_words
from kilter.training.figures import figures_of, strangest
from kilter.training.pictures.gallery import gallery_of
from kilter.training.run import Run, Scored
from kilter.training.subject import subject_of
from kilter.training.words import by_group, percent, promise, verdicts, with_interval

TEMPLATES = Path(__file__).parent / "templates"
STRANGEST = 10
FINDINGS = ("evaluation", "history", "notes", "diagnosis", "comparison", "suspects", "warnings")
"""What the manifest says of training that stands elsewhere in the report."""
REASONS = 3


class ColumnRow(NamedTuple):
    """A line of the table of columns."""

    name: str
    kind: str
    why: str
    range: str
    missing: str


class StrangeRow(NamedTuple):
    """A held-out normal record that looks strange."""

    row: int | None
    """Where it stands in the training files, from 1 below the header."""
    score: float
    p_value: float
    reasons: list[Reason]


def report(run: Run) -> str:
    """report.html of a run."""
    calibration = run.manifest.calibration
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["value"] = _value
    environment.filters["percent"] = percent
    environment.filters["count"] = "{:,}".format
    page = environment.get_template("report.html").render(
        manifest=run.manifest,
        calibration=calibration,
        promise=promise(calibration),
        chosen=" ".join([in_words(calibration.chosen, calibration.size), *by_group(calibration)]),
        verdicts=[*_comparison_first(run), *verdicts(run.evaluation)],
        evaluation=run.evaluation,
        figures=_figures(run),
        comparison=run.comparison,
        diagnosis=run.diagnosis,
        suspects=run.suspects,
        notes=[*_other_warnings(run), *run.notes, *run.evaluation.notes],
        plots=figures_of(run),
        columns=list(_columns(run)),
        strange=_strangest(run, run.held_out),
        suspicious=_strangest(run, run.fitted),
        subject=subject_of(run.manifest.schema),
        gallery=gallery_of(run),
        settings=list(_flat(run.manifest.training, skip=FINDINGS)),
    )
    return re.sub(r"(?<=\d) %", "\N{NO-BREAK SPACE}%", page)


def _figures(run: Run) -> list[tuple[str, str]]:
    """The figures of the evaluation that are known, in words."""
    rates = ("precision", "recall", "false-positive rate")
    return [
        (metric, with_interval(figure, as_percent=metric in rates))
        for metric, figure in run.evaluation.figures().items()
        if figure.value is not None
    ]


def _comparison_first(run: Run) -> list[str]:
    """That a simple detector is better: nothing matters more."""
    warning = run.comparison.warning if run.comparison else None
    return [warning] if warning else []


def _other_warnings(run: Run) -> list[str]:
    return [warning for warning in run.warnings if warning not in _comparison_first(run)]


def _strangest(run: Run, scored: Scored | None) -> list[StrangeRow]:
    """The rows with the highest scores, and why they have them."""
    if scored is None or run.detector.modality.name == "image":
        return []
    rows = strangest(scored, STRANGEST)
    found = run.detector.score(take(scored.table, rows), reasons=REASONS)
    places = [None] * len(rows) if scored.rows is None else [int(place) + 1 for place in scored.rows[rows]]
    return [
        StrangeRow(place, float(score), float(p_value), [reason for reason in reasons if isinstance(reason, Reason)])
        for place, score, p_value, reasons in zip(places, found.score, found.p_value, found.reasons or [], strict=True)
    ]


def _columns(run: Run) -> Iterator[ColumnRow]:
    schema = run.manifest.schema
    known = {column.name: column for column in schema.columns}
    left_out = {column.name: column.reason for column in schema.left_out}
    for decision in run.decisions:
        column = known.get(decision.name)
        if column is None:
            yield ColumnRow(decision.name, "left out", left_out.get(decision.name, decision.why), "", "")
        else:
            missing = percent(column.missing / schema.rows) if column.missing and schema.rows else ""
            yield ColumnRow(decision.name, decision.kind, decision.why, column.describe(), missing)


def _value(value: float | int | str | bool | None) -> str:
    """A cell as a reader wants it: numbers short, a missing value named."""
    if value is None:
        return "missing"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _flat(values: dict[str, Any], skip: tuple[str, ...] = (), prefix: str = "") -> Iterator[tuple[str, str]]:
    """The leaves of nested settings, with dotted names."""
    for key, value in values.items():
        if key in skip:
            continue
        name = f"{prefix}{key}".replace("_", " ")
        if isinstance(value, dict):
            yield from _flat(value, prefix=f"{name}: ")
        elif isinstance(value, list | tuple) and any(isinstance(item, dict) for item in value):
            for i, item in enumerate(value, 1):
                yield from _flat(item, prefix=f"{name} {i}: ") if isinstance(item, dict) else [(name, str(item))]
        else:
            yield name, ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
