"""The options about text tables reach a command as one parameter."""

import click
import pytest
from click.testing import CliRunner

from kilter.service.formats.options import table_options
from kilter.service.formats.source import Hints


@pytest.mark.parametrize(
    ("options", "hints"),
    [
        ([], Hints()),
        (["--delimiter", "tab", "--encoding", "koi8-r"], Hints("tab", "koi8-r")),
        (["--no-header"], Hints(header=False)),
        (["--header"], Hints(header=True)),
    ],
)
def test_options_become_hints(options: list[str], hints: Hints) -> None:
    """Those that are not given are to be found."""

    @click.command()
    @table_options
    def command(hints: Hints) -> None:
        click.echo(repr(hints))

    assert CliRunner().invoke(command, options).output == f"{hints!r}\n"
