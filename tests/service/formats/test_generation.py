"""Synthetic records in files."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from kilter.service.detector import Detector, KilterError
from kilter.service.formats import generation
from kilter.service.formats.generation import generate_file, parse_conditions, read_all_records


def test_a_file_has_what_the_detector_makes(maker: Detector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the same seed; in pieces there are as many, in a file with types of the same types."""
    assert generate_file(maker, tmp_path / "made.parquet", 40, seed=3).records == 40
    whole = pl.read_parquet(tmp_path / "made.parquet")
    assert whole["count"].to_list() == [record["count"] for record in maker.generate(40, seed=3)]
    assert (whole.schema["count"], whole.schema["guard"]) == (pl.Int64(), pl.Boolean())
    monkeypatch.setattr(generation, "PIECE", 7)
    generate_file(maker, tmp_path / "pieces.parquet", 40, seed=3)
    assert pl.read_parquet(tmp_path / "pieces.parquet").schema == whole.schema
    assert pl.read_parquet(tmp_path / "pieces.parquet").height == 40
    with pytest.raises(KilterError, match="exists"):
        generate_file(maker, tmp_path / "made.parquet", 2)


def test_pictures_go_into_a_folder(digits_detector: Detector, tmp_path: Path) -> None:
    """One file for each, and those are near the ones that were there before."""
    generate_file(digits_detector, tmp_path / "made", 5, seed=1)
    assert len(list((tmp_path / "made").glob("*.png"))) == 5
    generate_file(digits_detector, tmp_path / "near", 3, near=tmp_path / "made", prior="learned")
    assert len(list((tmp_path / "near").glob("*.png"))) == 3


def test_records_that_cannot_be_read_are_passed_over(maker: Detector, training_csv: Path, tmp_path: Path) -> None:
    """And said; a file that has no others is refused."""
    rows = training_csv.read_text().splitlines()
    broken = rows[2].split(",")
    broken[1] = "warm"
    path = tmp_path / "some.csv"
    path.write_text("\n".join([rows[0], rows[1], ",".join(broken), ""]))
    table, notes = read_all_records(maker, path)
    assert table.rows == 1
    assert "1 record cannot be read, the first of them: record 1: field 'temperature'" in notes[-1]
    assert np.isfinite(table.columns["temperature"]).all()
    path.write_text("\n".join([rows[0], ",".join(broken), ""]))
    with pytest.raises(KilterError, match="has no record that can be read: record 0"):
        read_all_records(maker, path)


def test_a_condition_names_a_column(maker: Detector) -> None:
    """Once; the value may hold what it likes."""
    assert parse_conditions(maker.schema, ["product=a=b", "count="]) == {"product": "a=b", "count": ""}
    for stated, message in ((["size=3"], "no condition COLUMN=VALUE"), (["count=3", "count=4"], "two conditions")):
        with pytest.raises(KilterError, match=message):
            parse_conditions(maker.schema, stated)
