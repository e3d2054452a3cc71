"""Tests of `kilter scan`."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner, Result

from kilter.service.detector import KilterError, load
from kilter.training.commands.scan import scan

SETTINGS = "baselines = false\n[fit]\nsteps = 60\nhidden = 16\n"
ODD = [5, 90]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A file of 150 rows, two of which have a number far out."""
    rng = np.random.default_rng(0)
    a = rng.normal(size=150)
    b = a + 0.3 * rng.normal(size=150)
    b[ODD] = 300, -400
    frame = pl.DataFrame({"a": a, "b": b, "kind": rng.choice(["x", "y"], 150), "bad": np.isin(np.arange(150), ODD)})
    frame.write_csv(tmp_path / "in.csv")
    (tmp_path / "settings.toml").write_text(SETTINGS)
    return tmp_path / "in.csv"


def run(table: Path, *options: str) -> Result:
    """The command on the file, with settings under which it takes seconds."""
    return CliRunner().invoke(scan, [str(table), "--config", str(table.parent / "settings.toml"), *options])


@pytest.mark.e2e
def test_a_file_is_scanned_and_a_model_kept(table: Path) -> None:
    """From the command line to the ranking, the summary, and a model that serves."""
    out, models = table.with_name("out.csv"), table.with_name("models")
    options = ["-o", str(out), "--label", "bad", "--normal", "false", "--keep", "clean", "--models", str(models)]
    done = run(table, *options)
    assert done.exit_code == 0, done.output
    assert done.stdout == ""
    assert "bad: left out (it is the label)" in done.stderr
    assert done.stderr.count("by a model of the others: fitting") == 5
    assert "150 rows judged, 2 flagged, 0 in error." in done.stderr
    assert "first reason of the flagged rows: b (2)." in done.stderr
    assert "By 'bad', which no model saw: ROC AUC 1.0000, average precision 1.0000; 2 of 2" in done.stderr
    assert "2 of 150 rows were left out of fitting and calibration" in done.stderr
    assert f"Wrote {models / 'clean' / '1'}" in done.stderr
    frame = pl.read_csv(out)
    assert sorted(frame["kilter_row"].head(2)) == ODD
    assert frame["kilter_anomaly"].to_list() == [True, True, *[False] * 148]
    assert load(models / "clean").manifest.training.rows == 148


def test_the_ranking_goes_to_standard_output_and_nothing_is_left_behind(table: Path) -> None:
    """The strangest alone, without reasons, in the order of the file."""
    before = sorted(table.parent.iterdir())
    done = run(table, "--top", "2", "--in-order", "--reasons", "none", "--exclude", "bad")
    assert done.exit_code == 0, done.output
    frame = pl.read_csv(done.stdout.encode())
    assert frame["kilter_row"].to_list() == ODD
    assert frame["kilter_reasons"].null_count() == 2
    assert sorted(table.parent.iterdir()) == before


def test_rows_in_error_are_told_by_the_exit_status(table: Path) -> None:
    """1: done, with rows in error, of either kind."""
    lines = table.read_text().splitlines()
    lines[3] += ",more"
    table.write_text("\n".join(lines) + "\n")
    done = run(table, "-o", str(table.with_name("out.csv")), "--reasons", "none")
    assert done.exit_code == 1
    assert "149 rows judged, 2 flagged, 1 in error." in done.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-o", "out.what"], "does not say what to write"),
        (["--keep", "No Name"], "a model's name is"),
        (["--fdr", "2"], "a false-discovery rate is between 0 and 1"),
        (["--label", "bad"], "say which value of 'bad' is normal"),
    ],
)
def test_what_is_asked_for_wrongly_is_refused_before_anything_is_fitted(
    table: Path, options: list[str], message: str
) -> None:
    """With the remedy."""
    done = run(table, *options)
    assert isinstance(done.exception, KilterError)
    assert message in str(done.exception)
    assert "fitting" not in done.stderr
