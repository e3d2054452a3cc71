"""`kilter generate`, as it is called."""

from pathlib import Path

import polars as pl
from click.testing import CliRunner, Result

from kilter.service.commands.generate import generate_command


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(generate_command, [str(argument) for argument in arguments])


def test_records_go_into_a_file(generating_folder: Path, training_csv: Path, tmp_path: Path) -> None:
    """In the columns of the training file, on which conditions hold; a seed gives the same ones."""
    options = ("-n", "30", "--seed", "1", "--where", "product=nut", "--where", "pressure=")
    done = call(generating_folder, *options, "-o", tmp_path / "made.csv")
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr.startswith("30 records, 0 in error; ")
    made = pl.read_csv(tmp_path / "made.csv")
    assert made.columns == pl.read_csv(training_csv).columns[1:]
    assert made.height == 30
    assert made["product"].to_list() == ["nut"] * 30
    assert made["pressure"].null_count() == 30
    assert call(generating_folder, *options).stdout_bytes == (tmp_path / "made.csv").read_bytes()


def test_what_cannot_be_is_said(model_folder: Path, generating_folder: Path) -> None:
    """A model without a generator, and a condition that is none."""
    for folder, options, message in (
        (model_folder, (), "was trained without a generator: train it again with --generator"),
        (generating_folder, ("--where", "size=3"), "'size=3' is no condition COLUMN=VALUE on a column of the model"),
        (generating_folder, ("--where", "product=gear"), "'product': the text 'gear' is in too few"),
    ):
        failed = call(folder, *options)
        assert failed.exit_code != 0
        assert failed.stdout == ""
        assert message in str(failed.exception) + failed.stderr
    assert call(model_folder, "-n", "3", "--prior", "standard").exit_code == 0


def test_records_near_those_of_a_file(generating_folder: Path, training_csv: Path, tmp_path: Path) -> None:
    """One of them that cannot be read is passed over, and said."""
    rows = training_csv.read_text().splitlines()
    (tmp_path / "some.csv").write_text("\n".join([rows[0], rows[1], rows[2].replace(",A,", ",A,x", 1), rows[3], ""]))
    done = call(generating_folder, "-n", "20", "--near", tmp_path / "some.csv")
    assert done.exit_code == 0, done.output
