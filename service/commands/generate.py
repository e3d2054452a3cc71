"""`kilter generate`: synthetic records."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kilter.service.commands.latent import tell_transcript
from kilter.service.formats.options import output_options, table_options
from kilter.service.formats.source import Hints

if TYPE_CHECKING:
    from kilter.service.detector.inputs import Table


@click.command("generate")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("-n", "--count", type=click.IntRange(min=1), default=100, show_default=True, help="How many records.")
@output_options
@click.option("--near", type=click.Path(path_type=Path), metavar="FILE", help="Each around a record of FILE.")
@click.option("--where", multiple=True, metavar="COLUMN=VALUE", help="All with a value; may be given again.")
@click.option(
    "--prior",
    type=click.Choice(["learned", "standard"]),
    default="learned",
    show_default=True,
    help="standard: codes drawn from N(0, I), for any model, and less like the rows.",
)
@click.option("--seed", type=click.IntRange(min=0), metavar="N", help="The same records again.  [default: others]")
@click.option(
    "--report", type=click.Path(path_type=Path), metavar="FILE.json", help="How like those of --real they are."
)
@click.option("--real", type=click.Path(path_type=Path), metavar="FILE", help="For the report: the training file, say.")
@table_options
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
def generate_command(
    model: Path,
    out: Path,
    count: int,
    where: tuple[str, ...],
    report: Path | None,
    real: Path | None,
    hints: Hints,
    force: bool,
    device: str,
    **options: Any,
) -> None:
    """Write synthetic records by MODEL (a model's folder, or a version's) in the schema of its training file.

    MODEL is one that was trained with --generator, unless the prior is standard. For a model of pictures OUT is a
    folder. A report needs the extra `synthetic`; it says how alike columns and pairs of columns are, how well boosting
    tells the records from real ones, and how near they are to rows of the fit.
    """
    from kilter.service.detector import load
    from kilter.service.detector.inputs import join
    from kilter.service.formats.fidelity import check_report, synthetic_libraries, write_report
    from kilter.service.formats.generation import generate_file, parse_conditions, read_all_records

    if (report is None) != (real is None):
        raise click.UsageError("a report is about records beside real ones: give both --report and --real")
    detector = load(model, device)
    conditions = parse_conditions(detector.schema, where)
    beside: Table | None = None
    if report is not None and real is not None:
        libraries = synthetic_libraries()
        check_report(detector, report, force=force)
        beside, notes = read_all_records(detector, real, hints)
        for note in notes:
            click.echo(f"note: {note}", err=True)
    parts: list[Table] = []
    made = generate_file(
        detector,
        out,
        count,
        where=conditions,
        hints=hints,
        force=force,
        each=(lambda part: None) if beside is None else parts.append,
        **options,
    )
    tell_transcript(made)
    if beside is not None and report is not None:
        for line in write_report(detector, join(parts), beside, report, libraries).lines():
            click.echo(line, err=True)
