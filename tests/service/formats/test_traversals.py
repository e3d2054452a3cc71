"""Tests of `formats.traversals`: ends of a way and directions, as a command line names them."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from kilter.service.detector import Detector, KilterError, RecordsError
from kilter.service.formats.traversals import direction_along, direction_between, interpolate_file, specimen
from tests.support.data import records, write_csv
from tests.support.digits import shuffled, write_pictures

ROWS = records(np.random.default_rng(11), 80)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CSV of 80 records, with a column that no model saw."""
    path = tmp_path_factory.mktemp("traversals") / "in:1.csv"
    heat = pl.Series("heat", ["high" if row["temperature"] > 70 else "low" for row in ROWS])
    pl.DataFrame(ROWS).with_columns(heat).write_csv(path)
    return path


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 20 pictures."""
    return write_pictures(tmp_path_factory.mktemp("traversal-pictures"), shuffled()[400:420])


def test_a_record_is_named_in_three_ways(detector: Detector, source: Path, tmp_path: Path) -> None:
    """As JSON, as a row of a file, and as a file with no other."""
    alone = write_csv(tmp_path / "alone.csv", np.random.default_rng(11), 1)
    for stated in (json.dumps(ROWS[0]), f"{source}:0", str(alone)):
        table = specimen(detector, stated)
        assert table.rows == 1
        assert table.columns["temperature"][0] == ROWS[0]["temperature"]
    assert specimen(detector, f"{source}:79").columns["temperature"][0] == ROWS[79]["temperature"]


def test_what_names_no_record_is_refused(detector: Detector, source: Path) -> None:
    """With the way to name one."""
    for stated, message in (
        (f"{source}:80", "has 80 records, and none of the number 80: they are counted from 0"),
        (str(source), r"holds more than one record: name one of them as .*:ROW"),
        ("nothing.csv:3", "is no file, no row of one .FILE:ROW, from 0., and no record in JSON"),
        ('{"temperature": }', "is no record in JSON"),
    ):
        with pytest.raises(KilterError, match=message):
            specimen(detector, stated)
    with pytest.raises(RecordsError, match="field 'pressure': the field is missing"):
        specimen(detector, '{"temperature": 1}')


def test_a_row_in_error_says_why(detector: Detector, source: Path, tmp_path: Path) -> None:
    path = tmp_path / "broken.csv"
    path.write_text(source.read_text().replace(f"{ROWS[2]['temperature']}", "warm", 1))
    with pytest.raises(KilterError, match=r"record 2: field 'temperature': a number like 1234.5 is expected"):
        specimen(detector, f"{path}:2")


def test_a_way_is_that_of_the_api(detector: Detector, source: Path, tmp_path: Path) -> None:
    """In the schema of the originals."""
    out = tmp_path / "way.parquet"
    assert interpolate_file(detector, f"{source}:3", json.dumps(ROWS[5]), out, steps=6) == 6
    way = detector.interpolate(ROWS[3], ROWS[5], steps=6)
    np.testing.assert_array_equal(pl.read_parquet(out)["temperature"], [row["temperature"] for row in way])


def test_pictures_go_into_a_strip_or_a_folder(digits_detector: Detector, pictures: Path, tmp_path: Path) -> None:
    """By the ending of the output, which is not overwritten unless that is forced."""
    first, last = sorted(pictures.rglob("*.png"))[:2]
    interpolate_file(digits_detector, str(first), str(last), tmp_path / "strip.png", steps=5)
    interpolate_file(digits_detector, str(first), str(last), tmp_path / "folder", steps=5)
    frames = [np.asarray(Image.open(path).convert("L")) for path in sorted((tmp_path / "folder").iterdir())]
    strip = np.asarray(Image.open(tmp_path / "strip.png").convert("L"))
    assert strip.shape == (8, 5 * 9 - 1)
    for place, frame in enumerate(frames):
        assert np.array_equal(strip[:, 9 * place : 9 * place + 8], frame)
    with pytest.raises(KilterError, match="exists already"):
        interpolate_file(digits_detector, str(first), str(last), tmp_path / "strip.png")
    assert specimen(digits_detector, f"{pictures}:1").rows == 1


def test_a_direction_is_that_of_groups(detector: Detector, source: Path, tmp_path: Path) -> None:
    """In two files, by a value of a column that the model did not see, and by the API: all the same."""
    groups = {"low": [row for row in ROWS if row["temperature"] <= 70]}
    groups["high"] = [row for row in ROWS if row["temperature"] > 70]
    for name, rows in groups.items():
        pl.DataFrame(rows).write_csv(tmp_path / f"{name}.csv")
    wanted = detector.direction(groups["low"], groups["high"])
    np.testing.assert_allclose(direction_along(detector, source, "heat", "high"), wanted)
    np.testing.assert_allclose(direction_between(detector, tmp_path / "low.csv", tmp_path / "high.csv"), wanted)


def test_a_direction_is_that_of_a_number(detector: Detector, source: Path) -> None:
    """By least squares, whether the cells are text or typed; rows without the number do not count."""
    rows = [row for row in ROWS if row["pressure"] is not None]
    pressures = np.array([row["pressure"] for row in rows])
    wanted = np.polyfit(pressures, detector.encode(rows), 1)[0] * pressures.std()
    np.testing.assert_allclose(direction_along(detector, source, "pressure"), wanted, atol=1e-8)
    typed = source.with_name("typed.parquet")
    pl.DataFrame(ROWS).write_parquet(typed)
    np.testing.assert_allclose(direction_along(detector, typed, "pressure"), wanted, atol=1e-8)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("colour", None, "has no column 'colour': it has temperature, pressure"),
        ("heat", None, "'heat' of .* has no two numbers: for a group say heat=VALUE"),
        ("heat", "hot", "all records or none have 'hot' as 'heat': give a file with both"),
    ],
)
def test_a_column_that_tells_no_direction_is_refused(
    column: str, value: str | None, message: str, detector: Detector, source: Path
) -> None:
    with pytest.raises(KilterError, match=message):
        direction_along(detector, source, column, value)
