"""What is told of a training run: the report, one HTML file that needs nothing else, and the model card."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import msgspec
import numpy as np

from kilter.service.detector.arrays import Floats
from kilter.service.detector.detector import Judge
from kilter.service.detector.findings import Evaluation, Training
from kilter.service.detector.inputs import take
from kilter.service.detector.manifest import Manifest, choice_in_words
from kilter.service.detector.modalities.tables import Reason
from kilter.training.evaluation.baselines import baseline_warning, compared_rows
from kilter.training.fitting.diagnosis import remedy_in_words
from kilter.training.reporting import plots, words
from kilter.training.reporting.gallery import Gallery
from kilter.training.reporting.run import Run, Scored
from kilter.training.reporting.words import Subject

TEMPLATES = Path(__file__).parent / "templates"
STRANGEST = 10
REASONS = 3
SHOWN_ELSEWHERE = ("evaluation", "history", "notes", "diagnosis", "comparison", "suspects", "warnings")
"""What the manifest says of training that stands elsewhere in the report."""
EXPLAINED_ROWS = 2_000
"""Most rows over which the columns that matter are averaged."""
FEWEST = 10
"""Held-out rows over which they are averaged at the least."""
COLUMNS_SHOWN = 15


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


class Sections(NamedTuple):
    """What a report shows of single records; which of it depends on what the model judges."""

    strange: Sequence[StrangeRow] = ()
    """The strangest of the held-out normal records."""
    suspicious: Sequence[StrangeRow] = ()
    """The strangest of those that the network was fitted to."""
    shares: Sequence[tuple[str, float]] = ()
    """The columns that matter, with their average share of what speaks against a record."""
    gallery: Gallery | None = None
    """Pictures, where records are such."""


def report(manifest: Manifest, run: Run, subject: Subject, sections: Sections) -> str:
    """report.html of a run."""
    training, evaluation = manifest.training, run.evaluation
    first = baseline_warning(training.comparison) if training.comparison else None  # nothing matters more
    remedy = training.diagnosis.remedy if training.diagnosis else None
    rates = ("precision", "recall", "false-positive rate")
    page = _rendered(
        "report.html",
        manifest,
        run,
        subject,
        verdicts=[*([first] if first else []), *words.evaluation_in_words(evaluation)],
        figures=_figures(evaluation, *rates),
        diagnosis=training.diagnosis,
        remedy=remedy_in_words(remedy) if remedy else "",
        suspects=training.suspects,
        notes=[*(warning for warning in training.warnings if warning != first), *run.notes, *evaluation.notes],
        plots=_plots(manifest, run, sections.shares),
        columns=list(_columns(manifest, run)),
        strange=sections.strange,
        suspicious=sections.suspicious,
        gallery=sections.gallery,
        settings=list(_settings(training)),
    )
    return re.sub(r"(?<=\d) %", "\N{NO-BREAK SPACE}%", page)


def model_card(manifest: Manifest, run: Run, subject: Subject) -> str:
    """MODEL_CARD.md of a run: what a model is, what it was made from, and what it must not be trusted with."""
    verdicts = [*words.evaluation_in_words(run.evaluation), *run.evaluation.notes]
    figures = _figures(run.evaluation)
    return _rendered(
        "MODEL_CARD.md", manifest, run, subject, verdicts=verdicts, figures=figures, memory=manifest.score.memory
    )


def _rendered(template: str, manifest: Manifest, run: Run, subject: Subject, **values: Any) -> str:
    """A template with the values of its own, and what every one is given."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=jinja2.select_autoescape(["html"]),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"value": _value, "percent": words.percent, "count": "{:,}".format, "inline": words.inline}
    promise, comparison = manifest.calibration, manifest.training.comparison
    return environment.get_template(template).render(
        manifest=manifest,
        training=manifest.training,
        run=run,
        subject=subject,
        calibration=promise,
        promise=words.promise_in_words(promise),
        chosen=choice_in_words(promise.chosen, promise.size),
        groups=words.groups_in_words(promise),
        evaluation=run.evaluation,
        comparison=comparison,
        compared_rows=compared_rows(comparison) if comparison else "",
        **values,
    )


def _figures(evaluation: Evaluation, *rates: str) -> list[tuple[str, str]]:
    """The figures of an evaluation that there are, in words; `rates` are told as percentages."""
    return [
        (metric, words.with_interval(figure, as_percent=metric in rates))
        for metric, figure in evaluation.figures().items()
        if figure.value is not None
    ]


def strange_rows(judge: Judge, scored: Scored | None) -> list[StrangeRow]:
    """The rows of a table with the highest scores, and why they have them."""
    if scored is None:
        return []
    rows = scored.strangest(STRANGEST)
    verdicts = judge.score(take(scored.table, rows), reasons=REASONS)
    places = [None] * len(rows) if scored.rows is None else [int(place) + 1 for place in scored.rows[rows]]
    return [
        StrangeRow(place, float(score), float(p_value), [reason for reason in reasons if isinstance(reason, Reason)])
        for place, score, p_value, reasons in zip(
            places, verdicts.score, verdicts.p_value, verdicts.reasons or [], strict=True
        )
    ]


def column_shares(run: Run) -> list[tuple[str, float]]:
    """The columns that speak most against anomalies or else the strangest held-out rows, with their average share.

    Shares are taken record by record, as in reasons, so that a few extreme records do not decide.
    """
    if run.anomalies is not None and len(run.anomalies.strangest(1)):
        source = run.anomalies
        rows = np.random.default_rng(0).permutation(source.strangest(len(source.scores)))[:EXPLAINED_ROWS]
    elif run.held_out is not None:
        source = run.held_out
        rows = source.strangest(max(len(source.scores) // 100, FEWEST))
    else:
        return []
    if not len(rows):
        return []
    (terms,) = run.judge.scorer.outputs(take(source.table, rows), ("terms",))
    against = np.maximum(terms, 0.0)
    shares = (against / np.maximum(against.sum(axis=1, keepdims=True), 1e-300)).mean(axis=0)
    order = np.argsort(-shares, kind="stable")[:COLUMNS_SHOWN]
    names = run.judge.modality.schema.names
    return [(names[i], float(shares[i])) for i in order if shares[i] > 0]


def _plots(manifest: Manifest, run: Run, shares: Sequence[tuple[str, float]]) -> dict[str, str]:
    """The figures that this run has the data for, by name. They are SVG that is safe to stand in the page."""
    threshold, digits, unit = manifest.calibration.threshold, manifest.score.digits, manifest.score.unit
    calibration, diagnosis = run.judge.calibration, manifest.training.diagnosis
    normal, anomalous = _finite(run.held_out, digits), _finite(run.anomalies, digits)
    others = {"held-out normal rows": normal, "anomalies": anomalous}
    figures = {"scores": plots.score_distribution(calibration.scores, threshold, unit, others)}
    if run.history:
        figures["curves"] = plots.training_curves(run.history)
    if diagnosis:
        figures["kl"] = plots.kl_bars(diagnosis.kl, diagnosis.active_units)
    if len(normal):
        figures["p_values"] = plots.p_value_histogram(calibration.p_values(normal), calibration)
    if len(anomalous):
        ordinary = normal if len(normal) else calibration.scores
        scores = np.concatenate([ordinary, anomalous])
        labels = np.arange(len(scores)) >= len(ordinary)
        figures["roc"] = plots.roc_curve(scores, labels, threshold)
        figures["precision_recall"] = plots.precision_recall_curve(scores, labels, threshold)
    if shares:
        figures["columns"] = plots.column_bars([name for name, _ in shares], [share for _, share in shares])
    if run.latent is not None and len(run.latent.means) > 1:
        figures["latent"] = plots.latent_plane(run.latent, threshold)
    return figures


def _finite(scored: Scored | None, digits: int) -> Floats:
    """The scores of rows without problems, rounded as they are before they meet the threshold."""
    return np.empty(0) if scored is None else np.round(scored.scores[~np.isnan(scored.scores)], digits)


def _columns(manifest: Manifest, run: Run) -> Iterator[ColumnRow]:
    schema = manifest.schema
    columns = {column.name: column for column in schema.columns}
    left_out = {column.name: column.reason for column in schema.left_out}
    for decision in run.decisions:
        column = columns.get(decision.name)
        if column is None:
            yield ColumnRow(decision.name, "left out", left_out.get(decision.name, decision.why), "", "")
        else:
            missing = words.percent(column.missing / schema.rows) if column.missing and schema.rows else ""
            yield ColumnRow(decision.name, decision.kind, decision.why, column.describe(), missing)


def _value(value: float | int | str | bool | None) -> str:
    """A cell as a reader wants it: numbers short, a missing value named."""
    if value is None:
        return "missing"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _settings(training: Training) -> Iterator[tuple[str, str]]:
    """What was trained on, and how, line by line."""
    values = msgspec.to_builtins(training)
    return _flat({key: value for key, value in values.items() if key not in SHOWN_ELSEWHERE})


def _flat(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """The leaves of nested settings, with their whole names."""
    for key, value in values.items():
        name = f"{prefix}{key}".replace("_", " ")
        if isinstance(value, dict):
            yield from _flat(value, prefix=f"{name}: ")
        elif isinstance(value, list | tuple) and any(isinstance(item, dict) for item in value):
            for i, item in enumerate(value, 1):
                yield from _flat(item, prefix=f"{name} {i}: ") if isinstance(item, dict) else [(name, str(item))]
        else:
            yield name, ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
