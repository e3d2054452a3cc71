"""`kilter encode`, `kilter decode` and `kilter reconstruct`: records to codes and back."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kilter.service.formats.options import output_options, table_options

if TYPE_CHECKING:
    from kilter.service.formats.codes import Transcript


def latent_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command what those have in common: MODEL, FILE, the output, and how a text table is written."""
    parts = (
        click.argument("model", type=click.Path(path_type=Path)),
        click.argument("file", type=click.Path(path_type=Path, allow_dash=True)),
        output_options,
        table_options,
        click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N."),
    )
    for part in reversed(parts):
        command = part(command)
    return command


drawn = click.option(
    "--seed",
    type=click.IntRange(min=0),
    metavar="N",
    help="Draw values by the likelihood, missing ones included.  [default: the expected or likeliest ones]",
)


@click.command("encode")
@latent_options
def encode_command(model: Path, file: Path, out: Path, device: str, **options: Any) -> None:
    """Write the code of each record of FILE by MODEL (a model's folder, or a version's): its place in latent space.

    FILE is what `kilter score` takes. OUT has a row for each record, in its order: code_0, code_1, ..., and
    kilter_error, which says what is wrong with a record that has no code. For a model of pictures a row begins with the
    picture's name. Records that are alike for MODEL have codes that are close to one another.

    Exit status: 0 done, 1 done with records in error, 2 not done.
    """
    from kilter.service.detector import load
    from kilter.service.formats.codes import encode_file

    tell_transcript(encode_file(load(model, device), file, out, **options))


@click.command("decode")
@latent_options
@drawn
def decode_command(model: Path, file: Path, out: Path, device: str, **options: Any) -> None:
    """Write the record of each code of FILE, as `kilter encode` writes them, by the same MODEL.

    FILE has the columns code_0, code_1, ...; others are passed over. OUT has a row for each, with the columns, the
    levels and the notation of the file that MODEL was trained on, in their range. For a model of pictures OUT is a
    folder, and a code gives a PNG there.

    Exit status: 0 done, 1 done with rows that hold no code, 2 not done.
    """
    from kilter.service.detector import load
    from kilter.service.formats.codes import decode_file

    tell_transcript(decode_file(load(model, device), file, out, **options))


@click.command("reconstruct")
@latent_options
@drawn
def reconstruct_command(model: Path, file: Path, out: Path, device: str, **options: Any) -> None:
    """Write each record of FILE as MODEL sees it: encoded, and decoded again.

    OUT is what `kilter decode` writes. What differs from FILE is what the code has no room for: with a strange record,
    that is much.

    Exit status: 0 done, 1 done with records in error, 2 not done.
    """
    from kilter.service.detector import load
    from kilter.service.formats.codes import reconstruct_file

    tell_transcript(reconstruct_file(load(model, device), file, out, **options))


def tell_transcript(made: "Transcript") -> None:
    """Say what became of a file, on standard error. Ends the command with status 1 if records are in error."""
    from kilter.service.detector.manifest import counted

    for note in made.notes:
        click.echo(f"note: {note}", err=True)
    click.echo(f"{counted(made.records, 'record')}, {made.errors:,} in error; {made.seconds:.1f} s", err=True)
    if made.errors:
        click.echo(f"first error: {made.first_error}", err=True)
        click.get_current_context().exit(1)
