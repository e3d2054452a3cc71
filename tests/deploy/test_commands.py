"""Every command that a manifest, a compose file or a page of deploy/ names is one that `kilter` has."""

import re
import shlex
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from kilter.service.cli import GROUP, build

DEPLOY = Path(__file__).parents[2] / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
NAMED = re.compile(
    r"(?:^|[`\s])kilter ((?:calibrate|evaluate|inspect|score|serve|token|train|versions) [^`|&>#)\n]+)", re.M
)


def parse(arguments: list[str]) -> None:
    """Read arguments as `kilter` would, without doing anything. Raises click.UsageError."""
    command: click.Command = build(list(entry_points(group=GROUP)))
    context = click.Context(command, info_name="kilter")
    rest = arguments
    while isinstance(command, click.Group):
        _, found, rest = command.resolve_command(context, rest)
        assert found is not None
        command, context = found, click.Context(found, parent=context)
    given, others, _ = command.make_parser(context).parse_args(list(rest))
    assert not others, f"{others} is too much"
    ended = any(p.is_eager and p.name in given for p in command.params)  # by an option that does something else
    wanted = [p.name for p in command.params if isinstance(p, click.Argument) and p.required and not ended]
    missing = [name for name in wanted if name is None or not isinstance(given.get(name), str | tuple)]
    assert not missing, f"{missing} is not given"


def containers(found: Any) -> list[dict[str, Any]]:
    """The containers anywhere in a manifest."""
    if isinstance(found, dict):
        own = [one for key in ("containers", "initContainers") for one in found.get(key) or ()]
        return own + [one for value in found.values() for one in containers(value)]
    return [one for value in found for one in containers(value)] if isinstance(found, list) else []


def manifests() -> list[list[str]]:
    """The arguments of each container of one of our images."""
    documents = [document for path in KUBERNETES.rglob("*.yaml") for document in yaml.safe_load_all(path.read_text())]
    return [one["args"] for one in containers(documents) if one.get("image", "").startswith("kilter") and "args" in one]


def pages() -> list[list[str]]:
    """The commands with their arguments that texts tell a reader, and those that scripts of compose files run."""
    texts = [path.read_text() for pattern in ("*.md", "*.yaml") for path in DEPLOY.rglob(pattern)]
    return [shlex.split(command) for text in texts for command in NAMED.findall(text)]


@pytest.mark.parametrize("arguments", manifests() + pages(), ids=" ".join)
def test_a_command_is_one_that_kilter_has(arguments: list[str]) -> None:
    """With options that it has and every argument that it needs."""
    parse(arguments)


@pytest.mark.parametrize("arguments", [["scores", "x"], ["score", "x", "y", "--fast"], ["versions", "pin"]])
def test_what_kilter_has_not_is_found(arguments: list[str]) -> None:
    """A command, an option, and an argument that is not given."""
    with pytest.raises((click.UsageError, AssertionError)):
        parse(arguments)
