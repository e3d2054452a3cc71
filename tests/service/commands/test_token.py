"""`kilter token`: a secret that is shown once, and a line that knows it."""

from pathlib import Path

from click.testing import CliRunner

from kilter.service.commands.token import token_command
from kilter.service.protection.auth import read_tokens
from kilter.service.routing import Scope


def test_the_line_goes_to_the_file_and_the_secret_to_the_person(tmp_path: Path) -> None:
    """Stdout is the line alone, so that it can be appended."""
    run = CliRunner().invoke(token_command, ["shop", "--scope", "score", "--scope", "admin"])
    assert run.exit_code == 0
    (tmp_path / "tokens").write_text(run.stdout)
    secret = run.stderr.splitlines()[-1]
    found = read_tokens(tmp_path / "tokens").find(secret.encode())
    assert found is not None
    assert (found.name, found.scopes) == ("shop", frozenset({Scope.SCORE, Scope.ADMIN}))
    assert secret not in run.stdout


def test_wrong_arguments_are_refused() -> None:
    """A scope is needed and one of three; a name has no spaces."""
    for arguments in (["shop"], ["shop", "--scope", "all"], ["my shop", "--scope", "score"]):
        run = CliRunner().invoke(token_command, arguments)
        assert run.exit_code != 0
        assert run.stdout == ""
