import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from kilter.service.commands.versions import versions_command
from kilter.service.detector import ArtifactError, KilterError, store


@pytest.fixture
def model(model_folder: Path, tmp_path: Path) -> Path:
    """The model `plant` with two copies of its version as further ones."""
    model = tmp_path / "plant"
    for version in ("1", "2", "3"):
        shutil.copytree(model_folder / "1", model / version)
    return model


def run(*arguments: object) -> Result:
    return CliRunner().invoke(versions_command, [str(argument) for argument in arguments])


def test_versions_are_listed_with_the_one_that_serves(model: Path) -> None:
    """A damaged one is told, and does not stop the list."""
    (model / "2" / "probes.json").write_bytes(b"{}")
    lines = run("list", model).output.splitlines()
    assert [line.split()[0] for line in lines] == ["1", "2", "3"]
    assert "target false-positive rate 5 %" in lines[0]
    assert "damaged, cannot be loaded: " in lines[1]
    assert "probes.json" in lines[1]
    assert "serves" in lines[2]
    (model / "3" / "probes.json").write_bytes(b"{}")
    damaged = run("list", model).output.splitlines()[2]
    assert damaged.split()[:2] == ["3", "highest"]
    assert "damaged, cannot be loaded: " in damaged
    assert "serves" not in damaged


def test_a_version_is_pinned_and_unpinned(model: Path) -> None:
    """The list shows it."""
    assert run("pin", model, 1).output == f"{model}: version 1 is pinned\n"
    assert "pinned" in run("list", model).output.splitlines()[0]
    assert store.serving_version(model) == 1
    assert "version 3 serves" in run("unpin", model).output
    assert store.serving_version(model) == 3


def test_what_serves_is_pinned_where_no_version_is_named(model: Path) -> None:
    """The highest, or the one that is pinned already."""
    assert run("pin", model).output == f"{model}: version 3 is pinned\n"
    run("pin", model, 1)
    assert run("pin", model).output == f"{model}: version 1 is pinned\n"


def test_rolling_back_pins_the_version_before(model: Path) -> None:
    """Until there is none."""
    assert "version 2 is pinned" in run("rollback", model).output
    assert "version 1 is pinned" in run("rollback", model).output
    assert isinstance(run("rollback", model).exception, KilterError)


def test_pruning_says_what_it_deleted(model: Path) -> None:
    """And needs to be told how many to keep."""
    assert run("prune", model).exit_code == 2
    assert run("prune", model, "--keep", "1").output == f"{model}: deleted versions 1, 2\n"
    assert run("prune", model, "--keep", "1").output == f"{model}: nothing to delete\n"
    assert store.versions(model) == [3]


@pytest.mark.parametrize("command", [("list",), ("pin",), ("unpin",), ("rollback",), ("prune", "--keep", "1")])
def test_what_is_no_model_is_said_to_be_none(tmp_path: Path, command: tuple[str, ...]) -> None:
    """By every command."""
    done = run(*command, tmp_path)
    assert isinstance(done.exception, ArtifactError)
    assert "a model's folder holds versions" in str(done.exception)
