"""`kilter latent` as a user calls it."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from kilter.service.detector import KilterError
from kilter.training.commands.latent import latent_command
from tests.support.data import write_csv


def call(*arguments: object) -> str:
    result = CliRunner().invoke(latent_command, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_a_page_is_written_of_a_file_and_of_the_prior(model_folder: Path, tmp_path: Path) -> None:
    """And only overwritten on request."""
    path = write_csv(tmp_path / "new.csv", np.random.default_rng(5), 50)
    out = tmp_path / "page.html"
    assert f"Wrote {out}: 50 records, " in call(model_folder, path, "-o", out)
    assert "plant, version 1: latent space" in out.read_text()
    with pytest.raises(KilterError, match="exists already"):
        call(model_folder, "-o", out)
    assert f"Wrote {out}: 500 records, " in call(model_folder, "-o", out, "--force")


def test_the_ending_says_what_is_written(model_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(KilterError, match=r"end it in \.html, \.svg or \.png"):
        call(model_folder, "-o", tmp_path / "page.pdf")
    assert not list(tmp_path.iterdir())


def test_too_few_records_are_said(model_folder: Path, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "new.csv", np.random.default_rng(5), 2)
    with pytest.raises(KilterError, match=r"new\.csv: 2 records can be read, and a map needs 3"):
        call(model_folder, path, "-o", tmp_path / "page.svg")


def test_pictures_without_a_file_are_those_of_the_generator(digits_models: Path, tmp_path: Path) -> None:
    """Their light is not that of N(0, I), which the codes of tables are drawn from."""
    out = tmp_path / "page.html"
    assert f"Wrote {out}: 500 records, " in call(digits_models / "digits", "-o", out)
