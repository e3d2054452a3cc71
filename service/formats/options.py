"""Options that commands share: how text tables are written, if it is not to be found out, and where verdicts go."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from kilter.service.formats.addresses import place_of
from kilter.service.formats.source import Hints


class PlaceParameter(click.Path):
    """A path of this machine, or an address."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return place_of(value) if isinstance(value, str) else value


def table_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command `--delimiter`, `--encoding` and `--header`, as its parameter `hints`."""

    @wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        hints = Hints(*(kwargs.pop(name) for name in ("delimiter", "encoding", "header")))
        return command(*args, **kwargs, hints=hints)

    options = (
        click.option(
            "--delimiter",
            metavar="CHAR",
            help="Of text: a character, tab, space or a code like \\x1f.  [default: found]",
        ),
        click.option("--encoding", metavar="NAME", help="Of text, like utf-8 or windows-1251.  [default: found]"),
        click.option(
            "--header/--no-header", default=None, help="Whether text has a header line with names.  [default: found]"
        ),
    )
    for option in reversed(options):
        wrapped = option(wrapped)
    return wrapped


def output_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command `--out` and `--force`, for a table with verdicts."""
    return _with_output(command, click.Path(path_type=Path, allow_dash=True))


def place_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The same, where OUT may be an address, too."""
    return _with_output(command, PlaceParameter())


def _with_output(command: Callable[..., Any], kind: click.Path) -> Callable[..., Any]:
    options = (
        click.option(
            "-o",
            "--out",
            type=kind,
            default="-",
            show_default="standard output",
            help="Where to write: .csv or .ndjson (also .gz, .bz2, .xz, .zst), .parquet, .arrow or .arrows.",
        ),
        click.option("--force", is_flag=True, help="Overwrite OUT if it exists."),
    )
    for option in reversed(options):
        command = option(command)
    return command
