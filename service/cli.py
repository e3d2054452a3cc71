"""The command `kilter`: it finds its subcommands by entry points, so that each install has those it can run."""

import os
import signal
import sys
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import click

import kilter

GROUP = "kilter.commands"
NOT_DONE = 2
INTERRUPTED = 130
TERMINATED = 143


class Commands(click.Group):
    """A group whose commands are imported when they are called; one that lacks its extra is not there."""

    def __init__(self, points: Sequence[EntryPoint], **options: Any) -> None:
        super().__init__(**options)
        self._points = {point.name: point for point in points}

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(name for name in self._points if self.get_command(ctx, name) is not None)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        try:
            command: click.Command = self._points[cmd_name].load()
        except (KeyError, ImportError):
            return None
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name in self._points and self.get_command(ctx, name) is None:
            extras = ",".join(self._points[name].extras) or "train"
            ctx.fail(f"'kilter {name}' is not part of this install: pip install 'kilter[{extras}]'")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            return NOT_DONE  # Whoever read the output has enough: nothing to tell.


def build(points: Sequence[EntryPoint]) -> click.Group:
    """The command line with the subcommands of some entry points."""
    group = Commands(points, name="kilter", help="Learn what normal looks like, and judge every new record.")
    return click.version_option(kilter.__version__, prog_name="kilter", message="%(prog)s %(version)s")(group)


def main() -> None:
    """Run the command line: exit status 2 and one line on stderr for what the user can put right, 130 for Ctrl-C."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    status = run_command_line(build(list(entry_points(group=GROUP))), sys.argv[1:])
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # What is left has nowhere to go, and would be complained about at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(status)


def run_command_line(group: click.Group, arguments: Sequence[str]) -> int:
    """Run a command line and return its exit status; nothing that a user can cause ends in a traceback."""
    try:
        status = group.main(list(arguments), prog_name="kilter", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return NOT_DONE
    except (click.Abort, KeyboardInterrupt) as error:
        # Click raises its own exception from that of Ctrl-C, which may say more.
        return _failed("; ".join(["interrupted", *map(str, (error.__cause__ or error).args)]), INTERRUPTED)
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        return _failed(f"{place}{error.strerror or error}")
    except Exception as error:
        # Imported here, so that `kilter --help` does not wait for the numerics.
        from kilter.service.detector.errors import KilterError

        if not isinstance(error, KilterError):
            raise
        return _failed(str(error))
    return status if isinstance(status, int) else 0


def _failed(message: str, status: int = NOT_DONE) -> int:
    click.echo(f"kilter: {message}", err=True)
    return status
