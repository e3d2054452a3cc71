"""`kilter similar`: the known records that are like others."""

from pathlib import Path
from typing import Any

import click

from kilter.service.commands.latent import latent_options, tell_transcript


@click.command("similar")
@latent_options
@click.option("-k", "--nearest", "k", type=click.IntRange(1, 100), default=5, show_default=True, help="How many.")
@click.option(
    "--among",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Known records (of pictures, a folder).  [default: the training rows that MODEL remembers]",
)
def similar_command(model: Path, file: Path, out: Path, device: str, **options: Any) -> None:
    """Show known records like those of FILE: for each the nearest training rows that MODEL remembers.

    OUT has a row for each of these: kilter_record, the number of the record in FILE from 0 (or the picture's name),
    kilter_rank, kilter_distance, kilter_row, the number of the known record in its own file, and its fields; for
    pictures kilter_name instead of fields. The distance is the one by which MODEL scores; where its score remembers no
    rows, it is that between codes, and --among is needed.

    Exit status: 0 done, 1 done with records in error, 2 not done.
    """
    from kilter.service.detector import load
    from kilter.service.formats.similar import similar_file

    detector = load(model, device)
    made = similar_file(detector, file, out, **options)
    if options["among"] is None and (memory := detector.similarity.memory) is not None and memory.origins is None:
        click.echo("note: the model does not tell the numbers of the rows that it remembers", err=True)
    tell_transcript(made)
