"""The command line ends every mistake of a user in one line and an exit status."""

import errno
from collections.abc import Callable, Sequence
from importlib.metadata import EntryPoint, entry_points

import click
import pytest

import kilter
from kilter.service.cli import GROUP, build, run_command_line
from kilter.service.detector import KilterError


class Found(EntryPoint):
    """An entry point whose command is made on the spot, or whose import fails."""

    def load(self) -> click.Command:
        if self.value.startswith("absent"):
            raise ImportError("No module named 'torch'")
        return click.Command(self.name, callback=CALLBACKS[self.name], help=f"Run {self.name}.")


def fail(error: BaseException) -> Callable[[], None]:
    def callback() -> None:
        raise error

    return callback


CALLBACKS: dict[str, Callable[[], object]] = {
    "good": lambda: click.echo("done"),
    "partly": lambda: click.get_current_context().exit(1),
    "mistaken": fail(KilterError("row 3 is wrong: put it right")),
    "full": fail(OSError(errno.ENOSPC, "No space left on device", "out.csv")),
    "interrupted": fail(KeyboardInterrupt()),
    "resumable": fail(KeyboardInterrupt("run it again")),
    "piped": fail(BrokenPipeError(errno.EPIPE, "Broken pipe")),
    "misused": fail(click.UsageError("no such option: --colour")),
}


def group() -> click.Group:
    found = [Found(name, "there", GROUP) for name in CALLBACKS]
    return build([*found, Found("train", "absent [train]", GROUP), Found("other", "absent", GROUP)])


@pytest.mark.parametrize(
    ("name", "status", "message"),
    [
        ("good", 0, ""),
        ("partly", 1, ""),
        ("mistaken", 2, "kilter: row 3 is wrong: put it right\n"),
        ("full", 2, "kilter: out.csv: No space left on device\n"),
        ("interrupted", 130, "kilter: interrupted\n"),
        ("resumable", 130, "kilter: interrupted; run it again\n"),
        ("piped", 2, ""),
    ],
)
def test_every_end_has_its_status(capfd: pytest.CaptureFixture[str], name: str, status: int, message: str) -> None:
    """Done is 0, partly done 1, not done 2, Ctrl-C 130; the message is one line on standard error."""
    assert run_command_line(group(), [name]) == status
    assert capfd.readouterr().err.lstrip("\n") == message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["misused"], "no such option: --colour"),
        (["absent"], "No such command 'absent'"),
        (["train"], "pip install 'kilter[train]'"),
    ],
)
def test_misuse_is_told(capsys: pytest.CaptureFixture[str], arguments: Sequence[str], message: str) -> None:
    """An unknown command, a wrong option and a command whose extra is not installed are told apart, with status 2."""
    assert run_command_line(group(), arguments) == 2
    assert message in capsys.readouterr().err


def test_help_lists_what_can_be_run(capsys: pytest.CaptureFixture[str]) -> None:
    """Commands that lack their extra are not listed; `--version` names the version."""
    assert run_command_line(group(), ["--help"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in CALLBACKS)
    assert "train" not in listed
    assert run_command_line(group(), ["--version"]) == 0
    assert capsys.readouterr().out == f"kilter {kilter.__version__}\n"


def test_every_command_of_this_install_can_be_loaded() -> None:
    """The entry points of the distribution lead to commands of their names."""
    found = entry_points(group=GROUP)
    assert {"score", "serve", "completion", "train"} <= found.names
    assert all(point.load().name == point.name for point in found)
