"""`kilter interpolate` and `kilter edit`, as they are called."""

from pathlib import Path

import click
import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner, Result

from kilter.service.commands.traversals import edit_command, interpolate_command
from kilter.service.detector import Detector
from tests.support.data import records

ROWS = records(np.random.default_rng(12), 60)


def call(command: click.Command, *arguments: str | Path) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A CSV of 60 records."""
    pl.DataFrame(ROWS).write_csv(tmp_path / "in.csv")
    return tmp_path / "in.csv"


def test_a_way_is_written(model_folder: Path, detector: Detector, source: Path) -> None:
    """With as many steps as are wanted."""
    made = call(interpolate_command, model_folder, f"{source}:0", f"{source}:1", "--steps", "4")
    assert (made.exit_code, made.stderr) == (0, "4 steps\n")
    wanted = [row["temperature"] for row in detector.interpolate(ROWS[0], ROWS[1], steps=4)]
    assert pl.read_csv(made.stdout_bytes)["temperature"].to_list() == wanted
    assert call(interpolate_command, model_folder, f"{source}:0", f"{source}:1", "--steps", "1").exit_code == 2


def test_records_are_moved_along_a_column(model_folder: Path, source: Path, tmp_path: Path) -> None:
    """Farther with more strength, back with less than 0, and as files of groups say it."""
    means = []
    for strength in ("-2", "0", "2"):
        out = tmp_path / f"{strength}.csv"
        options = ("--by", source, "--along", "temperature", "--strength", strength, "-o", out)
        made = call(edit_command, model_folder, source, *options)
        assert made.exit_code == 0
        assert made.stderr.startswith("60 records, 0 in error")
        means.append(pl.read_csv(out)["temperature"].mean())
    assert means[0] < means[1] < means[2]  # type: ignore[operator]
    cool, warm = tmp_path / "cool.csv", tmp_path / "warm.csv"
    frame = pl.DataFrame(ROWS)
    frame.filter(pl.col("temperature") <= 70).write_csv(cool)
    frame.filter(pl.col("temperature") > 70).write_csv(warm)
    made = call(edit_command, model_folder, source, "--from", cool, "--to", warm)
    assert pl.read_csv(made.stdout_bytes)["temperature"].mean() > means[1]  # type: ignore[operator]


@pytest.mark.parametrize(
    "options", [(), ("--from", "a"), ("--by", "a"), ("--from", "a", "--to", "b", "--along", "c", "--by", "d")]
)
def test_a_direction_is_stated_in_one_way(options: tuple[str, ...], model_folder: Path, source: Path) -> None:
    wrong = call(edit_command, model_folder, source, *options)
    assert wrong.exit_code == 2
    assert "--from and --to, or by --by and --along" in wrong.stderr


def test_a_record_is_shown_on_its_way(model_folder: Path, detector: Detector, source: Path, tmp_path: Path) -> None:
    """A row for each step, the first as the model sees the record."""
    options = ("--by", source, "--along", "temperature", "--strength", "2", "--steps", "5", "-o", tmp_path / "way.csv")
    made = call(edit_command, model_folder, f"{source}:3", *options)
    assert (made.exit_code, made.stderr) == (0, "5 steps\n")
    way = pl.read_csv(tmp_path / "way.csv")["temperature"]
    assert way[0] == detector.reconstruct(ROWS[3])[0]["temperature"]
    assert way.is_sorted()
    assert way.n_unique() == 5
