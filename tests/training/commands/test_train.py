"""Tests of `kilter train` as a process: interruption, a full disk, wrong input."""

import contextlib
import os
import re
import resource
import signal
import subprocess
import sys
import time
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
import pytest

from kilter.service.cli import GROUP, build, run_command_line
from kilter.service.detector import load
from kilter.service.detector.store import versions
from kilter.training.commands.train import interruptible
from tests.support.data import write_csv

KILTER_GROUP = build(list(entry_points(group=GROUP)))
KILTER = str(Path(sys.executable).with_name("kilter"))
BRIEF = "[fit]\nsteps = 40\nhidden = 16\n"
LONG = "[fit]\nsteps = 100000\nhidden = 16\npatience = 1000000\n"


def train(*arguments: object, cwd: Path, limit: int | None = None) -> subprocess.CompletedProcess[str]:
    """Run `kilter train`; no file may grow beyond `limit` bytes, as on a disk that is full."""

    def full_disk() -> None:
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    command = [KILTER, "train", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, preexec_fn=full_disk)


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    """A configuration that makes a fit brief."""
    path = tmp_path / "brief.toml"
    path.write_text(BRIEF)
    return path


def test_training_says_what_it_decided_and_where_the_model_is(
    training_csv: Path, settings: Path, tmp_path: Path
) -> None:
    """Each column with the reason, plain lines of progress in a log, the threshold, and the folder."""
    done = train(training_csv, "--name", "plant", "--config", settings, "--split", "random", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for said in ("id: left out", "temperature: numeric", "at: timestamp", "step 40/40: loss", "Wrote models/plant/1"):
        assert said in done.stdout
    assert "\r" not in done.stdout + done.stderr
    assert load(tmp_path / "models" / "plant").version == 1


@pytest.mark.e2e
def test_columns_are_taken_for_what_options_say(training_csv: Path, settings: Path, tmp_path: Path) -> None:
    """Each option as often as it is wanted; one that cannot be is refused before anything is fitted."""
    more = ["--categorical", "temperature", "--ignore", "id", "--exclude", "at"]
    arguments = [training_csv, "--name", "plant", "--config", settings, "--split", "random"]
    done = train(*arguments, *more, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "temperature: categorical (as was asked for; " in done.stdout
    for name in ("id", "at"):
        assert f"{name}: left out (excluded on request)" in done.stdout
    refused = train(*arguments, "--numeric", "at", cwd=tmp_path)
    assert refused.returncode != 0
    assert "--numeric at: row 0 holds '20" in refused.stderr
    assert "which is no number" in refused.stderr
    assert len(versions(tmp_path / "models" / "plant")) == 1


@pytest.mark.e2e
def test_an_interrupted_training_ends_quietly_and_is_taken_up(training_csv: Path, tmp_path: Path) -> None:
    """Ctrl-C leaves no version, no traceback, and a checkpoint from which the same command goes on."""
    config = tmp_path / "long.toml"
    config.write_text(LONG)
    model = tmp_path / "models" / "plant"
    first = _interrupted_once(training_csv, config, tmp_path, awaited="step")
    assert not any("taken up" in line for line in first)
    assert versions(model) == []
    assert [path.name for path in model.iterdir()] == [".fit.safetensors"]
    second = _interrupted_once(training_csv, config, tmp_path, awaited="The training that was interrupted")
    assert re.search(r"continued after step [1-9][0-9]* of [0-9]+\.$", second[-1])
    assert versions(model) == []


def _interrupted_once(table: Path, config: Path, folder: Path, awaited: str) -> list[str]:
    """Train, press Ctrl-C soon after a line that begins with `awaited`, and give the lines up to it."""
    process = subprocess.Popen(
        [KILTER, "train", str(table), "--name", "plant", "--config", str(config)],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line.rstrip())
        if line.startswith(awaited):
            break
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors
    again = "run the same command again, and it continues where this one was"
    assert errors.endswith(f"kilter: interrupted; {again}\n")
    return lines


def test_an_interrupt_that_is_dropped_on_its_way_ends_the_next_step() -> None:
    """Native code that runs Python may drop what is raised there."""
    steps: list[int] = []
    before = signal.getsignal(signal.SIGINT)
    try:
        report = interruptible(lambda step, steps_, epoch: steps.append(step), Path("none"))
        report(1, 9, None)
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            report(2, 9, None)
    finally:
        signal.signal(signal.SIGINT, before)
    assert steps == [1]


@pytest.mark.e2e
def test_a_full_disk_leaves_nothing_half_written(training_csv: Path, settings: Path, tmp_path: Path) -> None:
    """The message says what could not be written; no version and no partial folder stays."""
    arguments = (training_csv, "--name", "plant", "--config", settings, "--split", "random")
    done = train(*arguments, cwd=tmp_path, limit=20_000)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "cannot write" in done.stderr
    assert versions(tmp_path / "models" / "plant") == []
    assert not list((tmp_path / "models" / "plant").glob(".partial*"))


@pytest.mark.parametrize(
    ("content", "arguments", "message"),
    [
        ("", (), "is empty"),
        ("a,b\n", (), "no rows"),
        ("a,a\n1,2\n", (), "'a'"),
        ("a,b\n" + "x,y\n" * 50, (), "there is nothing to learn from"),
        ("a\n" + "1\n2\n" * 10, (), "at least 30 are needed"),
        ("a\n" + "1\n2\n" * 50, ("--normal", "1"), "--label"),
        ("a\n" + "1\n2\n" * 50, ("--target-fpr", "7"), "target_fpr must be from"),
        ("a\n" + "1\n2\n" * 50, ("--score", "magic"), "score"),
        ("a\n" + "1\n2\n" * 50, ("--name", "No Good"), "a model's name is"),
        ("a\n" + "1\n2\n" * 50, ("--device", "cuda:9"), "cuda:9"),
        ("a\n" + "1\n2\n" * 50, ("--config", "absent.toml"), "absent.toml"),
    ],
)
def test_wrong_input_gets_one_clear_message(
    content: str, arguments: tuple[str, ...], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 2, the place and the remedy, no traceback, and no model."""
    path = tmp_path / "data.csv"
    path.write_text(content)
    name = () if "--name" in arguments else ("--name", "plant")
    models = tmp_path / "models"
    status = run_command_line(KILTER_GROUP, ["train", str(path), *name, "--models", str(models), *arguments])
    said = capsys.readouterr().err
    assert status == 2
    assert message in said
    assert not models.exists()


def test_a_file_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """So is one that is a folder."""
    for path in (tmp_path / "absent.csv", tmp_path):
        arguments = ["train", str(path), "--name", "plant", "--models", str(tmp_path / "models")]
        assert run_command_line(KILTER_GROUP, arguments) == 2
        assert str(path) in capsys.readouterr().err


@pytest.mark.e2e
def test_train_reads_what_write_csv_writes(tmp_path: Path, settings: Path) -> None:
    """Several files with the same columns are one table."""
    rng = np.random.default_rng(3)
    parts = [write_csv(tmp_path / f"part{i}.csv", rng, 60) for i in range(2)]
    done = train(*parts, "--name", "plant", "--config", settings, "--exclude", "at", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert load(tmp_path / "models" / "plant").manifest.training.rows == 120
