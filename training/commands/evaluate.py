"""`kilter evaluate`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from kilter.service.formats.options import table_options
from kilter.training.commands.train import rows_option

if TYPE_CHECKING:
    from kilter.service.detector.findings import Evaluation
    from kilter.service.formats.source import Hints

TRAINED_ON = "The model was trained on this file or folder, so the figures are better than they will be on new rows."
SEEN_ROWS = "Most of these rows were in the training, so the figures are better than they will be on new rows."


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("file", type=click.Path(exists=True, path_type=Path))
@click.option("--label", metavar="COLUMN", help="Column that says which rows are normal.  [default: as in training]")
@click.option("--normal", metavar="VALUE", help="The label of normal rows.  [default: as in training]")
@table_options
@rows_option
@click.option(
    "--evidence",
    type=click.IntRange(1, 100_000),
    metavar="K",
    help="Add the ELBO and the importance-weighted bound on log p(x) of normal rows, by K draws of each: 5000 is much.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="For the bootstrap intervals, and draws.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
@click.pass_context
def evaluate(
    context: click.Context,
    model: Path,
    file: Path,
    label: str | None,
    normal: str | None,
    hints: "Hints",
    evidence: int | None,
    seed: int,
    max_rows: int | None,
    as_json: bool,
) -> None:
    """Say how good MODEL is on the rows of FILE: against its labels, or without any against what was promised.

    MODEL is a model's folder or a version's; FILE holds rows that it was not trained on, and is a folder where these
    are pictures. The exit status is 1 if some rows could not be read.
    """
    # Imported here: `kilter --help` only wants to know what the command is called.
    import numpy as np

    from kilter.service.detector import load
    from kilter.service.detector.inputs import take
    from kilter.service.detector.manifest import counted
    from kilter.service.detector.networks import network_class
    from kilter.service.formats.provenance import was_trained_on
    from kilter.training.config import MAX_ROWS
    from kilter.training.data.source import TrainingSource
    from kilter.training.evaluation.evaluate import evaluate_rows
    from kilter.training.evaluation.evidence import bound_likelihood, network_of, without_elbo
    from kilter.training.modality import modality_of_model

    detector = load(model)
    manifest = detector.manifest
    modality = modality_of_model(manifest)
    source = TrainingSource((file,), label, normal, hints=hints, max_rows=max_rows or MAX_ROWS, seed=seed)
    rows = modality.read_labelled(source, manifest)
    verdicts = detector.score(rows.table, errors="mark")
    seen = [TRAINED_ON] if was_trained_on(manifest.training, file) else []
    if not seen and detector.was_trained_on(verdicts.features):
        seen = [SEEN_ROWS]
    evaluation = evaluate_rows(detector, rows.table, rows.anomalous, seed=seed, fresh=not seen, verdicts=verdicts)
    if not network_class(manifest.network.kind).has_elbo:
        evaluation = without_elbo(evaluation)
    if evidence is not None and evaluation.normal:
        usual = ~np.isnan(verdicts.score) & (True if rows.anomalous is None else ~rows.anomalous)
        bound = bound_likelihood(network_of(model), detector.modality, take(rows.table, usual), evidence, seed)
        evaluation = msgspec.structs.replace(evaluation, evidence=bound)
    if as_json:
        served = {"name": detector.name, "version": detector.version}
        about = {"model": served, "file": str(file), "trained_on": bool(seen)}
        for note in rows.notes:
            click.echo(note, err=True)
        click.echo(msgspec.json.format(msgspec.json.encode(about | msgspec.to_builtins(evaluation)), indent=2))
    else:
        size = modality.worded(counted(evaluation.rows, "row"))
        click.echo(f"{detector.name} version {detector.version} on {file}, {size}")
        for line in (*rows.notes, *map(modality.worded, (*seen, *lines_of(evaluation)))):
            click.echo(line)
    context.exit(1 if evaluation.problems else 0)


def lines_of(evaluation: "Evaluation") -> list[str]:
    """An evaluation as lines of text: verdicts first, then the table of the figures that are known."""
    from kilter.training.reporting.run import alerts_in_words, evaluation_in_words

    lines = [f"Rows left out, since they cannot be read: {evaluation.problems:,}."] if evaluation.problems else []
    lines += [*evaluation_in_words(evaluation), *evaluation.notes]
    if evaluation.false_positive_rate.value is not None:
        lines.append(alerts_in_words(evaluation.false_positive_rate.value, evaluation.labelled))
    if evaluation.labelled is not None:
        c = evaluation.labelled.counts
        lines.append(f"anomalies: {c.tp:,} flagged, {c.fn:,} missed; normal rows: {c.fp:,} flagged, {c.tn:,} passed")
    rows = [
        (metric, *("" if value is None else f"{value:.4f}" for value in (figure.value, figure.low, figure.high)))
        for metric, figure in evaluation.figures().items()
        if figure.value is not None
    ]
    if not rows:
        return lines
    rows.insert(0, ("metric", "value", "low", "high"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    table = (" ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return [*lines, "", *table, "", "low and high: 95 % interval"]
