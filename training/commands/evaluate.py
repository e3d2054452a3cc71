"""`kilter evaluate`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

if TYPE_CHECKING:
    from kilter.training.evaluation import Evaluation


SEEN = "The model was trained on this file or folder, so the figures are better than they will be on new rows."


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("file", type=click.Path(exists=True, path_type=Path))
@click.option("--label", metavar="COLUMN", help="Column that says which rows are normal.  [default: as in training]")
@click.option("--normal", metavar="VALUE", help="The label of normal rows.  [default: as in training]")
@click.option("--seed", type=int, default=0, show_default=True, help="For the bootstrap intervals.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
@click.pass_context
def evaluate(
    context: click.Context, model: Path, file: Path, label: str | None, normal: str | None, seed: int, as_json: bool
) -> None:
    """Say how good MODEL is on the rows of FILE: against its labels, or without any against what was promised.

    MODEL is a model's folder or a version's; FILE holds rows that it was not trained on, and is a folder where these
    are pictures. The exit status is 1 if some rows could not be read.
    """
    # Imported here: `kilter --help` only wants to know what the command is called.
    from kilter.service.detector import load
    from kilter.training.evaluate import evaluate as evaluate_rows
    from kilter.training.labelled import read_labelled
    from kilter.training.provenance import source_digest, was_trained_on

    detector = load(model)
    rows = read_labelled(file, detector.schema, detector.manifest.training, label, normal)
    seen = was_trained_on(detector.manifest.training, source_digest(file))
    found = evaluate_rows(detector, rows.table, rows.anomalous, seed=seed, fresh=not seen)
    if as_json:
        about = {"model": {"name": detector.name, "version": detector.version}, "file": str(file), "trained_on": seen}
        click.echo(msgspec.json.format(msgspec.json.encode(about | msgspec.to_builtins(found)), indent=2))
    else:
        click.echo(f"{detector.name} version {detector.version} on {file}, {found.rows:,} rows")
        for line in (*rows.notes, *([SEEN] if seen else []), *described(found)):
            click.echo(line)
    context.exit(1 if found.problems else 0)


def described(evaluation: "Evaluation") -> list[str]:
    """An evaluation as lines of text: verdicts first, then the table of figures."""
    from kilter.training.words import verdicts

    frame = evaluation.frame().dropna(subset="value")
    table = frame.to_string(index=False, na_rep="", float_format=lambda value: f"{value:.4f}", justify="right")
    unread = [f"Rows left out, since they cannot be read: {evaluation.problems:,}."] if evaluation.problems else []
    counts = []
    if evaluation.labelled is not None:
        c = evaluation.labelled.counts
        counts = [
            f"anomalies: {c.tp:,} flagged, {c.fn:,} missed; normal rows: {c.fp:,} flagged, {c.tn:,} passed",
        ]
    figures = ["", *table.splitlines(), "", "low and high: 95 % interval"] if len(frame) else []
    return [*unread, *verdicts(evaluation), *evaluation.notes, *counts, *figures]
