from pathlib import Path

from click.testing import CliRunner

from kilter.service.detector import KilterError, load, store
from kilter.training.commands.calibrate import calibrate


def test_the_command_writes_the_next_version_and_says_what_it_promises(model: Path, source: Path) -> None:
    """Old threshold, new threshold, rate, folder."""
    done = CliRunner().invoke(calibrate, [str(model), str(source), "--target-fpr", "0.1"])
    assert done.exit_code == 0, done.output
    assert "Rows left out so that the rate comes out even: 1." in done.output
    assert "The old threshold" in done.output
    assert "Of new records like the 149 normal ones that it was calibrated on, 10 % are flagged" in done.output
    assert f"Wrote {model / '2'}" in done.output
    assert load(model).calibration.target_fpr == 0.1


def test_labelled_anomalies_take_no_part(model: Path, source: Path) -> None:
    """Only rows with the normal value are calibrated on."""
    lines = source.read_text().splitlines()
    marked = [f"{line},{'no' if i < 50 else 'yes'}" for i, line in enumerate(lines[1:])]
    source.write_text("\n".join([f"{lines[0]},fine", *marked]) + "\n")
    done = CliRunner().invoke(calibrate, [str(model), str(source), "--label", "fine", "--normal", "yes"])
    assert done.exit_code == 0, done.output
    assert load(model).calibration.size == 99


def test_a_pin_is_pointed_out(model: Path, source: Path) -> None:
    """Else the new version would seem to serve."""
    store.pin(model, 1)
    done = CliRunner().invoke(calibrate, [str(model), str(source)])
    assert "Version 1 is pinned and goes on serving" in done.output


def test_too_few_rows_change_nothing(model: Path, source: Path) -> None:
    """The message names the number that is needed."""
    done = CliRunner().invoke(calibrate, [str(model), str(source), "--target-fpr", "0.001"])
    assert isinstance(done.exception, KilterError)
    assert "needs at least 999 calibration rows; there are 150" in str(done.exception)
    assert store.versions(model) == [1]


def test_a_file_in_another_dialect_is_calibrated_on(model: Path, source: Path) -> None:
    """As it is stated, or as it is found, with a note."""
    source.write_text("sep=|\n" + source.read_text().replace(",", "|"))
    done = CliRunner().invoke(calibrate, [str(model), str(source), "--target-fpr", "0.1"])
    assert done.exit_code == 0, done.output
    assert "is read from line 2 on, without what stands above it" in done.output
    assert load(model).calibration.size == 149


def test_a_missing_column_is_named_with_the_one_that_was_meant(model: Path, source: Path) -> None:
    """And nothing is written."""
    source.write_text(source.read_text().replace("temperature", "Temperature", 1))
    done = CliRunner().invoke(calibrate, [str(model), str(source)])
    assert isinstance(done.exception, KilterError)
    assert "lacks 'temperature' (did you mean 'Temperature'?), which the model needs" in str(done.exception)


def test_rows_that_were_trained_on_are_pointed_out(
    model: Path, training_csv: Path, source: Path, tmp_path: Path
) -> None:
    """In a file that is not the training's own; nothing is said of new ones, and the alerts to expect are."""
    known = "Attention: most of these rows were in the training."
    part = tmp_path / "part.csv"
    part.write_text("\n".join(training_csv.read_text().splitlines()[:300]) + "\n")
    assert known in CliRunner().invoke(calibrate, [str(model), str(part)]).output
    done = CliRunner().invoke(calibrate, [str(model), str(source)])
    assert known not in done.output
    assert "Alerts to expect: 50 in 1,000 normal records" in done.output
