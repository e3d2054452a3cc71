"""The documents of a training run: the report, one HTML file that needs nothing else, and the model card."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import msgspec
import numpy as np

from kilter.service.detector.arrays import Floats
from kilter.service.detector.calibration import TOLERANCE
from kilter.service.detector.detector import Judge
from kilter.service.detector.inputs import take
from kilter.service.detector.manifest import Manifest
from kilter.service.detector.modalities.tables import Reason
from kilter.service.detector.nearest_normal import NearestNormal, NormalFinder
from kilter.service.detector.scores import detector_of, find_score_kind
from kilter.training.evaluation.baselines import SIDE, baseline_warning, compared_rows
from kilter.training.fitting.diagnosis import remedy_in_words
from kilter.training.reporting import plots
from kilter.training.reporting.gallery import Gallery
from kilter.training.reporting.run import (
    Run,
    Scored,
    alerts_in_words,
    evaluation_in_words,
    inline,
    percent,
    promise_in_words,
    with_error,
    with_interval,
)

TEMPLATES = Path(__file__).parent / "templates"
STRANGEST = 10
REASONS = 3
SHOWN_ELSEWHERE = ("evaluation", "history", "notes", "diagnosis", "comparison", "choice", "suspects", "warnings")
"""Parts of the manifest's `training` that have a place of their own in the report."""
EXPLAINED_ROWS = (10, 2_000)  # fewest and most rows over which the columns that matter are averaged
COLUMNS_SHOWN = 15


class StrangeRow(NamedTuple):
    """A record that looks strange."""

    row: int
    """Its position in the training files, from 0."""
    surprise: float
    """What it was picked by: the score, or of a suspect the negative ELBO."""
    score: float
    p_value: float
    reasons: list[Reason]
    nearest: NearestNormal | None
    """What would make it normal; None if it is, or nothing was found."""


class Sections(NamedTuple):
    """The parts of a report about single records, which depend on the kind of records.

    The strange ones are held out and normal, and the network was fitted to the suspicious ones. `shares` are the
    columns that matter, with their average share of what speaks against a record.
    """

    strange: Sequence[StrangeRow] = ()
    suspicious: Sequence[StrangeRow] = ()
    shares: Sequence[tuple[str, float]] = ()
    gallery: Gallery | None = None


def report(manifest: Manifest, run: Run, kind: str, sections: Sections) -> str:
    """report.html of a run; `kind` is that of the modality."""
    training = manifest.training
    first = baseline_warning(training.comparison)  # nothing matters more
    remedy = training.diagnosis.remedy if training.diagnosis else None
    settings = {key: value for key, value in msgspec.to_builtins(training).items() if key not in SHOWN_ELSEWHERE}
    page = _rendered(
        "report.html",
        manifest,
        run,
        kind,
        verdicts=[*first, *evaluation_in_words(run.evaluation)],
        remedy=remedy_in_words(remedy) if remedy else "",
        notes=[*(text for text in training.warnings if text not in first), *run.notes, *run.evaluation.notes],
        plots=_plots(manifest, run, sections.shares),
        columns={column.name: column for column in manifest.schema.columns},
        left_out={column.name: column.reason for column in manifest.schema.left_out},
        settings=list(_flat(settings)),
        **sections._asdict(),
    )
    return re.sub(r"(?<=\d) %", "\N{NO-BREAK SPACE}%", page)


def model_card(manifest: Manifest, run: Run, kind: str) -> str:
    """MODEL_CARD.md of a run: the model, its training data, and the limits of its use."""
    verdicts = [*evaluation_in_words(run.evaluation), *run.evaluation.notes]
    return _rendered("MODEL_CARD.md", manifest, run, kind, verdicts=verdicts)


def _rendered(template: str, manifest: Manifest, run: Run, kind: str, **values: Any) -> str:
    """A template filled with the values of a run, and its own besides."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=jinja2.select_autoescape(["html"]),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    filters = {"value": _value, "percent": percent, "count": "{:,}".format, "inline": inline, "interval": with_interval}
    environment.filters |= filters | {"separation": with_error}
    comparison = manifest.training.comparison
    return environment.get_template(template).render(
        manifest=manifest,
        training=manifest.training,
        run=run,
        kind=kind,
        side=SIDE,
        detector=detector_of(manifest.score.kind),
        measure=find_score_kind(manifest.score.kind).measure,
        calibration=manifest.calibration,
        promise=promise_in_words(manifest.calibration),
        evaluation=run.evaluation,
        alerts=alerts_in_words(
            manifest.calibration.expected_fpr, run.evaluation.labelled, manifest.training.records_per_day
        ),
        comparison=comparison,
        compared_rows=compared_rows(comparison) if comparison else "",
        **values,
    )


def strangest_rows(judge: Judge, scored: Scored | None) -> list[StrangeRow]:
    """The rows of a table with the highest scores, the reasons for these, and what would make them normal."""
    if scored is None:
        return []
    rows = scored.strangest(STRANGEST)
    table = take(scored.table, rows)
    verdicts = judge.score(table, reasons=REASONS)
    finder = NormalFinder(judge.modality, judge.scorer.program, judge.thresholds, TOLERANCE, "this")
    nearest = finder.find_all(table, verdicts.anomaly, finder.kept(()))
    return [
        StrangeRow(
            int(scored.rows[row]),
            float(scored.scores[row]),
            float(verdicts.score[i]),
            float(verdicts.p_value[i]),
            [one for one in (verdicts.reasons or [])[i] if isinstance(one, Reason)],
            one if (one := nearest[i]) is not None and one.normal else None,
        )
        for i, row in enumerate(rows)
    ]


def column_shares(run: Run) -> list[tuple[str, float]]:
    """The columns that speak most against anomalies or else the strangest held-out rows, with their average share.

    Shares are taken record by record, as in reasons, so that a few extreme records do not decide.
    """
    fewest, most = EXPLAINED_ROWS
    if run.anomalies is not None and len(run.anomalies.strangest(1)):
        source = run.anomalies
        rows = np.random.default_rng(0).permutation(source.strangest(len(source.scores)))[:most]
    elif run.held_out is not None and len(run.held_out.strangest(1)):
        source = run.held_out
        rows = source.strangest(max(len(source.scores) // 100, fewest))
    else:
        return []
    (terms,) = run.judge.scorer.outputs(take(source.table, rows), ("terms",))
    against = np.maximum(terms, 0.0)
    shares = (against / np.maximum(against.sum(axis=1, keepdims=True), 1e-300)).mean(axis=0)
    order = np.argsort(-shares, kind="stable")[:COLUMNS_SHOWN]
    names = run.judge.modality.schema.names
    return [(names[i], float(shares[i])) for i in order if shares[i] > 0]


def _plots(manifest: Manifest, run: Run, shares: Sequence[tuple[str, float]]) -> dict[str, str]:
    """The figures that this run has the data for, by name. They are SVG that is safe to put into the page."""
    threshold, digits, unit = manifest.calibration.threshold, manifest.score.digits, manifest.score.unit
    calibration, diagnosis = run.judge.calibration, manifest.training.diagnosis
    normal, anomalous = _finite(run.held_out, digits), _finite(run.anomalies, digits)
    others = {"held-out normal rows": normal, "anomalies": anomalous}
    figures = {"scores": plots.score_distribution(calibration.scores, threshold, unit, others)}
    if run.history:
        figures["curves"] = plots.training_curves(run.history)
    if diagnosis and diagnosis.kl:
        figures["kl"] = plots.kl_bars(diagnosis.kl, diagnosis.active_units)
    if len(normal):
        figures["p_values"] = plots.p_value_histogram(calibration.p_values(normal), calibration)
    if len(anomalous):
        ordinary = normal if len(normal) else calibration.scores
        scores = np.concatenate([ordinary, anomalous])
        labels = np.arange(len(scores)) >= len(ordinary)
        labelled = run.evaluation.labelled
        weight = labelled.weight if labelled else 1.0
        figures["roc"] = plots.roc_curve(scores, labels, threshold)
        figures["precision_recall"] = plots.precision_recall_curve(scores, labels, threshold, weight)
    if shares:
        figures["columns"] = plots.column_bars([name for name, _ in shares], [share for _, share in shares])
    if run.latent is not None and len(run.latent.means) > 1:
        figures["latent"] = plots.latent_plane(run.latent, threshold)
    return figures


def _finite(scored: Scored | None, digits: int) -> Floats:
    """The scores of rows without problems, rounded as they are before they meet the threshold."""
    return np.empty(0) if scored is None else np.round(scored.scores[~np.isnan(scored.scores)], digits)


def _value(value: float | int | str | bool | None) -> str:
    """The text of a cell: numbers short, a missing value named."""
    if value is None:
        return "missing"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """The leaves of nested settings, with their whole names."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield from _flat(part, f"{name}{': ' * bool(name)}{key}".replace("_", " "))
    elif isinstance(value, list | tuple) and any(isinstance(part, dict) for part in value):
        for i, part in enumerate(value, 1):
            yield from _flat(part, f"{name} {i}")
    else:
        yield name, ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
