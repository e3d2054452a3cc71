"""`kilter calibrate`."""

from pathlib import Path

import click

from kilter.service.formats.options import table_options
from kilter.service.formats.source import Hints
from kilter.training.commands.train import group_option, rows_option, split_option, threshold_options
from kilter.training.config import MAX_ROWS, Rule

SEEN = (
    "Attention: most of these rows were in the training. Such rows score lower than new ones, so that the threshold "
    "will raise more false alarms than promised: calibrate on normal rows that the model has not seen."
)


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("file", type=click.Path(exists=True, path_type=Path))
@click.option("--target-fpr", type=float, help="False-positive rate.  [default: that of the model]")
@threshold_options
@group_option("as in the model")
@split_option("as in the model")
@click.option("--label", metavar="COLUMN", help="Column that says which rows are normal.  [default: as in training]")
@click.option("--normal", metavar="VALUE", help="The label of normal rows.  [default: as in training]")
@table_options
@rows_option
@click.option("--seed", type=int, default=0, show_default=True, help="Picks the rows that are not needed.")
@click.pass_context
def calibrate(
    context: click.Context,
    model: Path,
    file: Path,
    target_fpr: float | None,
    rule: Rule | None,
    group_by: str | None,
    split_by: str | None,
    label: str | None,
    normal: str | None,
    hints: Hints,
    seed: int,
    max_rows: int | None,
) -> None:
    """Set the threshold of MODEL anew on the normal rows of FILE, without refitting, and write the next version.

    The rows must be new to the model and known to be normal: anomalies among them hide others of their kind. FILE is a
    folder where they are pictures. The exit status is 1 if some rows could not be read.
    """
    # Imported here: `kilter --help` only wants to know what the command is called.
    from kilter.service.detector import artifact, store
    from kilter.training.data.source import TrainingSource
    from kilter.training.modality import modality_of_model
    from kilter.training.recalibrate import recalibrate
    from kilter.training.reporting.run import alerts_in_words, promise_in_words

    manifest = artifact.read_artifact(store.resolve(model)).manifest
    if group_by is None and manifest.calibration.by_group is not None:
        group_by = manifest.calibration.by_group.column
    split_by = split_by or manifest.calibration.split_by
    source = TrainingSource(
        (file,),
        label,
        normal,
        group_by=group_by,
        split_by=split_by,
        hints=hints,
        max_rows=max_rows or MAX_ROWS,
        seed=seed,
    )
    modality = modality_of_model(manifest)
    rows = modality.read_labelled(source, manifest)
    for note in rows.notes:
        click.echo(note)
    done = recalibrate(
        model, rows, file, target_fpr=target_fpr, rule=rule, group_by=group_by, split_by=split_by, seed=seed
    )
    if done.unread:
        click.echo(modality.worded(f"Rows left out, since they cannot be read: {done.unread:,}."))
    if done.copies:
        why = "copies of another one" if split_by is None else f"of the same value of {split_by!r} as another one"
        click.echo(modality.worded(f"Rows left out, since they are {why}: {done.copies:,}."))
    if done.surplus:
        click.echo(modality.worded(f"Rows left out so that the rate comes out even: {done.surplus:,}."))
    manifest = done.detector.manifest
    promise = manifest.calibration
    click.echo(modality.worded(done.before))
    click.echo(f"The new one is {promise.threshold:.6g}. " + modality.worded("\n".join(promise_in_words(promise))))
    click.echo(alerts_in_words(promise.expected_fpr, records_per_day=manifest.training.records_per_day))
    if done.seen:
        click.echo(modality.worded(SEEN))
    click.echo(f"Wrote {done.folder}; its probes replay.")
    pinned = store.pinned_version(done.folder.parent)
    if pinned is not None:
        click.echo(f"Version {pinned} is pinned and goes on serving: `kilter versions unpin {done.folder.parent}`.")
    context.exit(1 if done.unread else 0)
