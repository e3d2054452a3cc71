"""`kilter encode`, `kilter decode` and `kilter reconstruct`, as they are called."""

from pathlib import Path

import click
import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner, Result

from kilter.service.commands.latent import decode_command, encode_command, reconstruct_command
from tests.support.data import write_csv


def call(command: click.Command, *arguments: str | Path, data: bytes | None = None) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments], input=data)


@pytest.fixture
def new_csv(tmp_path: Path) -> Path:
    """A CSV of 20 records that `plant` has not seen."""
    return write_csv(tmp_path / "new.csv", np.random.default_rng(5), 20)


def test_records_go_to_codes_and_back(model_folder: Path, new_csv: Path, tmp_path: Path) -> None:
    """A model's folder and a version's give the same; a filter does what a file does."""
    coded = call(encode_command, model_folder, new_csv, "-o", tmp_path / "codes.csv")
    assert (coded.exit_code, coded.stdout) == (0, "")
    assert coded.stderr.startswith("20 records, 0 in error; ")
    piped = call(encode_command, model_folder / "1", "-", data=new_csv.read_bytes())
    assert piped.stdout_bytes == (tmp_path / "codes.csv").read_bytes()
    for options in ((), ("--seed", "7")):
        decoded = call(decode_command, model_folder, tmp_path / "codes.csv", *options)
        direct = call(reconstruct_command, model_folder, new_csv, *options)
        assert (decoded.exit_code, direct.exit_code) == (0, 0)
        assert decoded.stdout_bytes == direct.stdout_bytes
        assert pl.read_csv(decoded.stdout_bytes).height == 20


def test_records_in_error_are_told_by_the_status(model_folder: Path, new_csv: Path, tmp_path: Path) -> None:
    """1, with the first of them; what stands for each in the file says the same."""
    broken = tmp_path / "broken.csv"
    broken.write_text(new_csv.read_text().replace("\nr-00003,", "\nr-00003,warm", 1))
    coded = call(encode_command, model_folder, broken, "-o", tmp_path / "codes.csv")
    assert coded.exit_code == 1
    assert "first error: record 3: field 'temperature': " in coded.stderr
    decoded = call(decode_command, model_folder, tmp_path / "codes.csv", "-o", tmp_path / "back.csv")
    assert decoded.exit_code == 1
    assert "first error: record 3: a number of the code is missing" in decoded.stderr


def test_a_seed_is_a_number(model_folder: Path, new_csv: Path) -> None:
    """Of 0 or more."""
    wrong = call(reconstruct_command, model_folder, new_csv, "--seed", "-1")
    assert wrong.exit_code == 2
    assert "--seed" in wrong.stderr
