"""Files of the known records that are like others: what the detector finds, row by row."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from kilter.service.detector import Detector, KilterError
from kilter.service.formats.similar import read_known, similar_file
from tests.support.data import records
from tests.support.digits import shuffled, write_pictures

ROWS = records(np.random.default_rng(6), 8)


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_file_has_what_the_detector_finds(ending: str, detector: Detector, tmp_path: Path) -> None:
    """Two rows for each record, in their order, in the schema of the originals; a record in error has one, and why."""
    source, out = tmp_path / "in.csv", tmp_path / f"out.{ending}"
    frame = pl.DataFrame(ROWS).with_columns(pl.col("count").cast(pl.String))
    frame = frame.with_columns(count=pl.when(pl.int_range(8) == 2).then(pl.lit("many")).otherwise("count"))
    frame.write_csv(source)
    made = similar_file(detector, source, out, k=2)
    assert (made.records, made.errors) == (8, 1)
    written = pl.read_csv(out) if ending == "csv" else pl.read_parquet(out)
    assert written["kilter_record"].to_list() == [0, 0, 1, 1, 2, *np.repeat(np.arange(3, 8), 2).tolist()]
    good = [row for place, row in enumerate(ROWS) if place != 2]
    wanted = [one for near in detector.similar(good, 2) for one in near]
    there = written.filter(pl.col("kilter_error").is_null())
    assert there["kilter_rank"].to_list() == [1, 2] * 7
    assert there["kilter_distance"].to_list() == [one.distance for one in wanted]
    assert there["kilter_row"].to_list() == [one.row for one in wanted]
    for name in ("temperature", "count", "product"):
        assert there[name].to_list() == [one.record[name] for one in wanted if one.record is not None]
    wrong = written.filter(pl.col("kilter_error").is_not_null())
    assert wrong["kilter_row"].to_list() == wrong["temperature"].to_list() == [None]
    assert "count" in wrong["kilter_error"][0]


def test_a_file_is_looked_among(detector: Detector, tmp_path: Path) -> None:
    """By the numbers of all its records, of which those in error are passed over, and said."""
    source, among = tmp_path / "in.csv", tmp_path / "known.csv"
    pl.DataFrame(ROWS[4:]).write_csv(source)
    frame = pl.DataFrame(ROWS).with_columns(temperature=pl.col("temperature").cast(pl.String))
    frame.with_columns(temperature=pl.when(pl.int_range(8) == 1).then(pl.lit("x")).otherwise("temperature")).write_csv(
        among
    )
    made = similar_file(detector, source, tmp_path / "out.csv", k=1, among=among)
    assert pl.read_csv(tmp_path / "out.csv")["kilter_row"].to_list() == [4, 5, 6, 7]
    assert any("not looked among" in note for note in made.notes)
    (tmp_path / "none.csv").write_text(",".join(ROWS[0]) + "\n" + ",".join("x" * len(ROWS[0])) + "\n")
    with pytest.raises(KilterError, match="no record that can be read: record 0"):
        read_known(detector, tmp_path / "none.csv")


def test_pictures_have_names(digits_detector: Detector, tmp_path: Path) -> None:
    """Both those that are shown and those that are like them."""
    folder = write_pictures(tmp_path / "new", shuffled()[400:406])
    similar_file(digits_detector, folder, tmp_path / "out.csv", k=2)
    written = pl.read_csv(tmp_path / "out.csv")
    assert written.columns == [
        "picture", "kilter_rank", "kilter_distance", "kilter_row", "kilter_name", "kilter_error",
    ]  # fmt: skip
    wanted = [one.name for near in digits_detector.similar(shuffled()[400:406], 2) for one in near]
    assert written["kilter_name"].to_list() == wanted
    assert written["picture"].n_unique() == 6
    similar_file(digits_detector, folder, tmp_path / "among.csv", k=1, among=folder)
    itself = pl.read_csv(tmp_path / "among.csv")
    assert itself["kilter_name"].to_list() == itself["picture"].to_list()
