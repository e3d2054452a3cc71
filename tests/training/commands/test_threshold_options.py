from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from kilter.service.detector import KilterError, load, store
from kilter.training.commands.calibrate import calibrate
from kilter.training.commands.train import train
from kilter.training.config import read_config
from tests.support.data import write_csv


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A file of 400 new rows, of which 40 are marked `bad`."""
    path = write_csv(tmp_path / "new.csv", np.random.default_rng(7), 400)
    lines = path.read_text().splitlines()
    marked = [f"{line},{'bad' if i % 10 == 0 else 'fine'}" for i, line in enumerate(lines[1:])]
    path.write_text("\n".join([f"{lines[0]},state", *marked]) + "\n")
    return path


def call(model: Path, source: Path, *options: str) -> Result:
    labels = ["--label", "state", "--normal", "fine"]
    return CliRunner().invoke(calibrate, [str(model), str(source), *labels, *options])


def test_alerts_per_day(model: Path, source: Path) -> None:
    """The rate is alerts over records, and it is said that true alerts come on top."""
    done = call(model, source, "--alerts-per-day", "40", "--records-per-day", "1000")
    assert done.exit_code == 0, done.output
    assert "for 40 alerts per day at 1000 records per day, all of them false ones" in done.output
    info = load(model).manifest.calibration
    assert (info.target_fpr, info.chosen.by) == (0.04, "alerts-per-day")
    assert info.chosen.inputs == {"alerts_per_day": 40.0, "records_per_day": 1000.0}


@pytest.mark.parametrize(
    ("options", "way", "said"),
    [
        (["--f-beta", "1"], "f-beta", "for the best F-beta, beta 1, on 360 normal rows and 40 labelled anomalies"),
        (
            ["--cost-false-alarm", "1", "--cost-miss", "5"],
            "cost",
            "with 1 for a false alarm and 5 for a missed anomaly",
        ),
        (["--recall-at-precision", "0.05", "--anomaly-rate", "0.3"], "recall-at-precision", "30 % are anomalies"),
    ],
)
def test_the_ways_by_labels(options: list[str], way: str, said: str, model: Path, source: Path) -> None:
    """Each is stored with its figure and said in words, with bootstrap intervals."""
    done = call(model, source, *options)
    assert done.exit_code == 0, done.output
    assert said in done.output
    assert "95 % bootstrap intervals" in done.output
    info = load(model).manifest.calibration
    assert info.chosen.by == way
    assert info.chosen.evidence is not None
    assert info.target_fpr == info.chosen.evidence.level.value


def test_groups_stay_until_others_are_asked_for(model: Path, source: Path) -> None:
    """Thresholds by group are named, and a recalibration without the option keeps the column."""
    first = call(model, source, "--group-by", "product")
    assert first.exit_code == 0, first.output
    assert "Thresholds by 'product' for 3 groups: bolt" in first.output
    second = call(model, source, "--group-by", "product")
    assert "Thresholds by 'product' for 3 groups" in second.output
    assert store.versions(model) == [1, 2, 3]


def test_two_ways_at_once_are_refused_before_anything_is_done(model: Path, source: Path) -> None:
    """By either command; the message names both."""
    both = ["--target-fpr", "0.1", "--f-beta", "1"]
    trained = CliRunner().invoke(train, [str(source), "--name", "x", *both])
    for done in (call(model, source, *both), trained):
        assert isinstance(done.exception, KilterError)
        assert "--target-fpr and --f-beta are two" in str(done.exception)
    assert store.versions(model) == [1]


def test_a_way_by_labels_needs_labels_before_the_fit(training_csv: Path, tmp_path: Path) -> None:
    """Training stops at once, and says how to name the labels."""
    done = CliRunner().invoke(
        train, [str(training_csv), "--name", "x", "--models", str(tmp_path / "models"), "--f-beta", "1"]
    )
    assert isinstance(done.exception, KilterError)
    assert "needs labelled anomalies, and there are none" in str(done.exception)
    assert not (tmp_path / "models").exists()


def test_an_option_replaces_the_way_of_the_configuration_file(tmp_path: Path) -> None:
    """Whichever of the two it is; alone, the file's table decides."""
    path = tmp_path / "settings.toml"
    path.write_text("[threshold]\nalerts_per_day = 5\nrecords_per_day = 100\n")
    assert read_config(path).target_fpr == 0.05
    assert read_config(path, target_fpr=0.1).threshold.way is None
    assert read_config(path, threshold={"f_beta": 2.0}).threshold.way == "f-beta"
    path.write_text("target_fpr = 0.2\n")
    config = read_config(path, threshold={"f_beta": 2.0})
    assert (config.target_fpr, config.threshold.way) == (None, "f-beta")
    path.write_text("target_fpr = 0.2\n[threshold]\nf_beta = 1.0\n")
    with pytest.raises(KilterError, match="in one way"):
        read_config(path)
