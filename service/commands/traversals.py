"""`kilter interpolate` and `kilter edit`: ways through the latent space of a model."""

from pathlib import Path
from typing import Any

import click

from kilter.service.commands.latent import drawn, latent_options, tell_transcript
from kilter.service.formats.options import output_options, table_options
from kilter.service.formats.source import Hints


@click.command("interpolate")
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("first", metavar="A")
@click.argument("last", metavar="B")
@output_options
@click.option(
    "--steps", type=click.IntRange(2, 10_000), default=8, show_default=True, help="How many records, A and B included."
)
@table_options
@drawn
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
def interpolate_command(model: Path, first: str, last: str, out: Path, device: str, **options: Any) -> None:
    """Write records on the way from A to B, as MODEL sees them: the straight line between their codes.

    A and B are each a record in JSON, a row of a file as FILE:ROW (from 0), or a file that holds one record; for a
    model of pictures, a picture, or one of a stack as FILE:ROW. OUT is what `kilter decode` writes; where it ends in
    .png, pictures stand side by side in it.
    """
    from kilter.service.detector import load
    from kilter.service.formats.traversals import interpolate_file

    steps = interpolate_file(load(model, device), first, last, out, **options)
    click.echo(f"{steps:,} steps", err=True)


@click.command("edit")
@latent_options
@click.option("--from", "source", type=click.Path(path_type=Path), help="Records (of pictures, a folder) to lead from.")
@click.option("--to", "target", type=click.Path(path_type=Path), help="Records to lead to.")
@click.option("--by", type=click.Path(path_type=Path), help="A table with a column that tells the direction.")
@click.option("--along", metavar="COLUMN[=VALUE]", help="That column: to higher numbers, or to the rows of a value.")
@click.option("--strength", type=float, default=1.0, show_default=True, help="How far; a negative number leads back.")
@click.option(
    "--steps", type=click.IntRange(2, 10_000), help="Show one record, FILE:ROW, on its way instead, in so many steps."
)
@drawn
def edit_command(
    model: Path,
    file: Path,
    out: Path,
    source: Path | None,
    target: Path | None,
    by: Path | None,
    along: str | None,
    strength: float,
    steps: int | None,
    device: str,
    hints: Hints,
    **options: Any,
) -> None:
    """Write the records of FILE as MODEL sees them, moved in a direction.

    The direction leads from the mean code of the records --from to that of the records --to; or, with --by and --along,
    from the rows of other values of a column to those of VALUE, all of the way at strength 1. With a COLUMN of numbers
    alone, strength 1 is a standard deviation of them. MODEL need not see the column. OUT is that of `kilter decode`,
    or with --steps that of `kilter interpolate`: a row for each step, or pictures side by side in a .png.

    Exit status: 0 done, 1 done with records in error, 2 not done.
    """
    from kilter.service.detector import load
    from kilter.service.formats.codes import reconstruct_file
    from kilter.service.formats.traversals import direction_along, direction_between, walk_file

    groups, column = (source, target), (by, along)
    if (None in groups) == (None in column) or (any(groups) and any(column)):
        raise click.UsageError("a direction is stated by --from and --to, or by --by and --along")
    detector = load(model, device)
    if source is not None and target is not None:
        direction = direction_between(detector, source, target, hints)
    else:
        name, _, value = str(along).partition("=")
        direction = direction_along(detector, str(by), name, value or None, hints)
    change = strength * direction
    if steps is None:
        tell_transcript(reconstruct_file(detector, file, out, change=change, hints=hints, **options))
        return
    made = walk_file(detector, str(file), out, change, steps=steps, hints=hints, **options)
    click.echo(f"{made:,} steps", err=True)
