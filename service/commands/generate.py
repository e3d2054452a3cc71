"""`kilter generate`: synthetic records."""

from pathlib import Path
from typing import Any

import click

from kilter.service.commands.latent import tell_transcript
from kilter.service.formats.options import output_options, table_options


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
@table_options
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
def generate_command(model: Path, out: Path, count: int, where: tuple[str, ...], device: str, **options: Any) -> None:
    """Write synthetic records by MODEL (a model's folder, or a version's) in the schema of its training file.

    MODEL is one that was trained with --generator, unless the prior is standard. For a model of pictures OUT is a
    folder.
    """
    from kilter.service.detector import load
    from kilter.service.formats.generation import generate_file, parse_conditions

    detector = load(model, device)
    conditions = parse_conditions(detector.schema, where)
    tell_transcript(generate_file(detector, out, count, where=conditions, **options))
