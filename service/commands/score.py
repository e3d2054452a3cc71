"""`kilter score`: verdicts on the records of a file."""

from pathlib import Path
from typing import Literal

import click


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path, allow_dash=True),
    default="-",
    show_default="standard output",
    help="Where to write: .csv (also .gz, .bz2, .xz, .zst), .parquet or .arrow.",
)
@click.option("--force", is_flag=True, help="Overwrite OUT if it exists.")
@click.option(
    "--reasons",
    type=click.Choice(["anomalies", "all", "none"]),
    default="anomalies",
    show_default=True,
    help="Which records get reasons; all takes longer.",
)
@click.option(
    "--fdr",
    type=float,
    metavar="RATE",
    help="Flag so that of the flagged records, RATE are normal on average; FILE is read twice.",
)
@click.option("--tail", is_flag=True, help="Append kilter_tail_probability too.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
@click.pass_context
def score(
    ctx: click.Context,
    model: Path,
    file: Path,
    out: Path,
    force: bool,
    reasons: Literal["anomalies", "all", "none"],
    fdr: float | None,
    tail: bool,
    device: str,
) -> None:
    """Judge every record of FILE by MODEL (a model's folder, or a version's), and write them with their verdicts.

    FILE is CSV in any dialect, Parquet, Arrow or npz; - is standard input. CSV records keep their own bytes. Appended
    are kilter_score, kilter_p_value, kilter_anomaly (true, false), kilter_reasons (JSON) and kilter_error. A record
    that cannot be scored has its error, and empty verdicts.

    With --fdr an anomaly is a record that is declared one by the procedure of Benjamini and Hochberg over the whole
    FILE, whatever the threshold of MODEL. It promises that of the declared records at most RATE are normal on average,
    where the normal ones are like those that MODEL was calibrated on.

    With --tail the records beyond the 90 % quantile of the calibration scores have an estimate of how many normal
    records score higher. It tells those apart that share the lowest p-value, and is no p-value itself.

    Exit status: 0 done, 1 done with records in error, 2 not done.
    """
    from service.detector import load
    from service.files.scoring import score_file

    summary = score_file(load(model, device), file, out, reasons=reasons, force=force, fdr=fdr, tails=tail)
    for note in summary.notes:
        click.echo(f"note: {note}", err=True)
    click.echo(
        f"{summary.records:,} records, {summary.anomalies:,} anomalies, {summary.errors:,} in error; "
        f"{summary.seconds:.1f} s",
        err=True,
    )
    if summary.discoveries is not None:
        click.echo(str(summary.discoveries), err=True)
    if summary.errors:
        click.echo(f"first error: {summary.first_error}", err=True)
        ctx.exit(1)
