"""`kilter similar`, as it is called."""

from pathlib import Path

import numpy as np
import polars as pl
from click.testing import CliRunner, Result

from kilter.service.commands.similar import similar_command
from kilter.service.detector import Detector
from tests.support.data import records

ROWS = records(np.random.default_rng(7), 4)


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(similar_command, [str(argument) for argument in arguments])


def test_known_records_are_shown(model_folder: Path, detector: Detector, tmp_path: Path) -> None:
    """Those that the model remembers, or those of a file."""
    source = tmp_path / "in.csv"
    pl.DataFrame(ROWS).write_csv(source)
    made = call(model_folder, source, "-k", "3")
    assert made.exit_code == 0
    assert made.stderr.startswith("4 records, 0 in error")
    wanted = [one.row for near in detector.similar(ROWS, 3) for one in near]
    assert pl.read_csv(made.stdout_bytes)["kilter_row"].to_list() == wanted
    itself = call(model_folder, source, "-k", "1", "--among", source)
    assert pl.read_csv(itself.stdout_bytes)["kilter_row"].to_list() == [0, 1, 2, 3]
    assert call(model_folder, source, "-k", "101").exit_code == 2


def test_a_model_without_numbers_says_so(
    generating_folder: Path, maker: Detector, model_folder: Path, tmp_path: Path
) -> None:
    """The rows are shown all the same; the model card tells which it is."""
    source = tmp_path / "in.csv"
    pl.DataFrame(ROWS).write_csv(source)
    made = call(generating_folder, source, "-k", "1")
    assert "does not tell the numbers" in made.stderr
    written = pl.read_csv(made.stdout_bytes)
    assert "kilter_row" not in written.columns
    assert written["kilter_distance"].to_list() == [near[0].distance for near in maker.similar(ROWS, 1)]
    assert written["temperature"].null_count() == 0
    said = "With them stand their row numbers in the training data"
    assert said not in (generating_folder / "1" / "MODEL_CARD.md").read_text()
    assert said in (model_folder / "1" / "MODEL_CARD.md").read_text()
