"""`kilter completion` prints a shell's completion script."""

import pytest
from click.testing import CliRunner

from kilter.service.cli import build
from kilter.service.commands.completion import completion


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_script_completes_kilter(shell: str) -> None:
    """The script asks kilter itself for completions."""
    result = CliRunner().invoke(completion, [shell])
    assert result.exit_code == 0
    assert "_KILTER_COMPLETE" in result.output
    assert f"{shell}_complete" in result.output


def test_options_are_completed() -> None:
    """What the script asks for is answered with the command's options."""
    environment = {"_KILTER_COMPLETE": "bash_complete", "COMP_WORDS": "kilter --ver", "COMP_CWORD": "1"}
    result = CliRunner().invoke(build([]), [], env=environment, prog_name="kilter")
    assert "--version" in result.output
