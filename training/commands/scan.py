"""`kilter scan`: the strange rows of files themselves."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click
from tqdm import tqdm

from kilter.service.formats.options import output_options, table_options
from kilter.service.formats.source import Hints
from kilter.training.commands.train import exclude_option, interruptible, kind_options

if TYPE_CHECKING:
    from kilter.training.fitting.fit import FitProgress


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
@output_options
@click.option(
    "--fdr",
    type=float,
    default=0.1,
    show_default=True,
    metavar="RATE",
    help="Flag so that of the flagged rows, RATE are normal on average.",
)
@click.option("--top", type=click.IntRange(min=1), metavar="N", help="Write the N strangest rows alone.")
@click.option("--in-order", is_flag=True, help="Write rows in the order of the files, not the strangest first.")
@click.option(
    "--reasons",
    type=click.Choice(["anomalies", "all", "none"]),
    default="anomalies",
    show_default=True,
    help="Which rows get reasons, up to 5 each: the flagged and the ten strangest, all, or none.",
)
@click.option("--label", metavar="COLUMN", help="Column that no model sees; how the ranking agrees with it is told.")
@click.option("--normal", metavar="VALUE", help="The label of normal rows.")
@exclude_option("a column")
@table_options
@kind_options
@click.option("--keep", metavar="NAME", help="Keep a model, fitted and calibrated without the flagged rows.")
@click.option(
    "--models", type=click.Path(path_type=Path), default=Path("models"), show_default=True, help="Folder for --keep."
)
@click.option("--target-fpr", type=float, help="False-positive rate of the model to keep.  [default: as in training]")
@click.option("--seed", type=int, help="Same seed, data and machine: same verdicts.  [default: 0]")
@click.option("--device", help="auto, cpu, cuda or cuda:N.  [default: auto]")
@click.option(
    "--config", type=click.Path(path_type=Path), metavar="FILE.toml", help="Settings; options go before them."
)
@click.pass_context
def scan(
    context: click.Context,
    /,
    files: tuple[Path, ...],
    out: Path,
    force: bool,
    fdr: float,
    top: int | None,
    in_order: bool,
    reasons: Literal["anomalies", "all", "none"],
    label: str | None,
    normal: str | None,
    exclude: tuple[str, ...],
    hints: Hints,
    keep: str | None,
    models: Path,
    config: Path | None,
    **settings: Any,
) -> None:
    """Find the strange rows of FILES themselves, which need no labels and may hold anomalies.

    FILES are tables with the same columns. The rows are judged in five parts, those of each part by a model that was
    fitted to all others, copies of a row being in the same part. They are written strangest first, with the columns of
    `kilter score` and with kilter_row, the row in its file, from 0; kilter_file besides if there are several files.

    Rows are flagged by the procedure of Benjamini and Hochberg. It keeps its promise where the scores of normal rows
    fall off, beyond the middle of all scores, exponentially or faster; it is cautious where there are many anomalies,
    and a table may be such that it flags nothing. The ranking is there in any case.

    Exit status: 0 done, 1 done with rows in error, 2 not done.
    """
    # Imported here: torch takes seconds, and `kilter --help` only wants to know what the command is called.
    from kilter.service.detector.store import check_name
    from kilter.training.config import read_config
    from kilter.training.data.source import TrainingSource
    from kilter.training.ranking import check_ranking, scan_in_words, write_ranking
    from kilter.training.scan import keep_model, scan_source

    def say(line: str) -> None:
        click.echo(line, err=True)

    if keep is not None:
        check_name(keep)
    settled = read_config(config, **settings)
    check_ranking(files, out, force=force)
    result = scan_source(
        TrainingSource(files, label, normal, exclude, hints=hints),
        settled,
        fdr=fdr,
        explained=reasons,
        say=say,
        progress=lambda fold, folds: fit_bar(f"Part {fold} of {folds}, by a model of the others"),
    )
    written = write_ranking(result, out, in_order=in_order, top=top)
    for line in scan_in_words(result, written):
        say(line)
    if keep is not None:
        detector = keep_model(result, keep, models, settled, say=say, progress=fit_bar("The model to keep"))
        say(f"Wrote {models / keep / str(detector.version)}: it flags scores above {detector.calibration.threshold:g}.")
    context.exit(1 if result.discoveries.judged < written.records else 0)


def fit_bar(title: str) -> "FitProgress":
    """Report a fit: a bar on a terminal, a plain line elsewhere, never on standard output, where the rows may go."""
    bar = tqdm(desc=title, unit="step", leave=False) if sys.stderr.isatty() else None
    if bar is None:
        click.echo(f"{title}: fitting", err=True)

    def report(step: int, steps: int, epoch: object) -> None:  # noqa: ARG001
        if bar is not None:
            bar.total = steps
            bar.update(step - bar.n)
            if step == steps:
                bar.close()

    return interruptible(report)
