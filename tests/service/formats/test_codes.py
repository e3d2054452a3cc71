"""Tests of `formats.codes`: files of records, of their codes, and of what a model sees in them."""

import io
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from kilter.service.detector import Detector, KilterError, load
from kilter.service.detector.inputs import take
from kilter.service.formats import codes
from kilter.service.formats.codes import code_names, decode_file, encode_file, reconstruct_file
from kilter.service.formats.reading import open_table, read_batch
from kilter.service.formats.scoring import score_file
from tests.support.artifacts import ARTIFACTS
from tests.support.data import write_csv
from tests.support.digits import shuffled, write_pictures

BAD = 7


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CSV of 60 records, of which one has a count that is no number."""
    path = write_csv(tmp_path_factory.mktemp("codes") / "in.csv", np.random.default_rng(9), 60)
    lines = path.read_text().splitlines(keepends=True)
    cells = lines[BAD + 1].split(",")
    lines[BAD + 1] = ",".join([*cells[:3], "many", *cells[4:]])
    path.write_text("".join(lines))
    return path


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 30 pictures, and one that is damaged."""
    folder = write_pictures(tmp_path_factory.mktemp("code-pictures"), shuffled()[400:430])
    first = next(folder.rglob("*.png"))
    (folder / "broken.png").write_bytes(first.read_bytes()[:60])
    return folder


def test_a_file_of_codes_has_those_of_the_api(detector: Detector, source: Path, tmp_path: Path) -> None:
    """A row for each record, in every format; the one in error has none, and says why."""
    with open_table(source) as reader:
        [batch] = reader.batches()
    good = np.arange(60) != BAD
    wanted = detector.encode(take(read_batch(detector.schema, batch), good)._replace(problems=[]))
    for ending in (".csv", ".csv.zst", ".parquet", ".arrow"):
        out = tmp_path / f"codes{ending}"
        made = encode_file(detector, source, out)
        assert made[:3] == (60, 1, f"record {BAD}: field 'count': {made.first_error.partition(': ')[2][15:]}")
        with open_table(out) as reader:
            [rows] = reader.batches()
        frame = rows.frame.with_columns(pl.col(code_names(detector.latent.size)).cast(pl.Float64, strict=False))
        assert frame.columns == [*code_names(detector.latent.size), "kilter_error"]
        np.testing.assert_array_equal(frame.filter(good).select(code_names(detector.latent.size)).to_numpy(), wanted)
        assert set(frame.row(BAD)[:-1]) == {None}
        assert "number" in frame.row(BAD)[-1]


@pytest.mark.parametrize("seed", [None, 3])
def test_to_encode_and_to_decode_is_to_reconstruct(
    seed: int | None, detector: Detector, source: Path, tmp_path: Path
) -> None:
    """Row by row, in the columns of the originals, all of which can be scored; in batches as at once."""
    encode_file(detector, source, tmp_path / "codes.csv")
    decoded = decode_file(detector, tmp_path / "codes.csv", tmp_path / "a.csv", seed=seed)
    direct = reconstruct_file(detector, source, tmp_path / "b.csv", seed=seed)
    assert (decoded.records, decoded.errors) == (direct.records, direct.errors) == (60, 1)
    assert decoded.first_error == f"record {BAD}: {codes.INCOMPLETE}"
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    frame = pl.read_csv(tmp_path / "a.csv", infer_schema=False)
    assert frame.columns == list(detector.schema.names)
    assert frame.row(BAD) == (None,) * len(frame.columns)
    assert score_file(detector, tmp_path / "a.csv", tmp_path / "scored.csv").errors == 0
    typed = reconstruct_file(detector, source, tmp_path / "c.parquet", seed=seed)
    assert typed.records == 60
    assert pl.read_parquet(tmp_path / "c.parquet").schema["count"] == pl.Int64


def test_pictures_come_back_as_pictures_by_their_names(
    digits_detector: Detector, pictures: Path, tmp_path: Path
) -> None:
    """Of a folder, or of the file of its codes; one that is damaged has none."""
    made = encode_file(digits_detector, pictures, tmp_path / "codes.csv")
    assert (made.records, made.errors) == (31, 1)
    assert made.first_error.startswith("broken.png: ")
    decode_file(digits_detector, tmp_path / "codes.csv", tmp_path / "a")
    reconstruct_file(digits_detector, pictures, tmp_path / "b")
    names = {str(path.relative_to(pictures)) for path in pictures.rglob("*.png")} - {"broken.png"}
    for folder in (tmp_path / "a", tmp_path / "b"):
        assert {str(path.relative_to(folder)) for path in folder.rglob("*.png")} == names
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
        with Image.open(tmp_path / "a" / name) as picture:
            assert picture.size == (8, 8)


def test_codes_without_names_give_numbered_pictures(digits_detector: Detector, tmp_path: Path) -> None:
    """From the first row on, those without a code passed over."""
    size = digits_detector.latent.size
    rows = np.random.default_rng(0).normal(size=(3, size))
    rows[1, 2] = np.nan
    pl.DataFrame(rows, schema=code_names(size)).write_csv(tmp_path / "codes.csv")
    made = decode_file(digits_detector, tmp_path / "codes.csv", tmp_path / "out")
    assert (made.records, made.errors) == (3, 1)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["000000.png", "000002.png"]


def test_a_filter_reads_and_writes_standard_streams(detector: Detector, source: Path, tmp_path: Path) -> None:
    """As if they were files."""
    out = io.BytesIO()
    encode_file(detector, "-", "-", stdin=io.BytesIO(source.read_bytes()), stdout=out)
    encode_file(detector, source, tmp_path / "codes.csv")
    assert out.getvalue() == (tmp_path / "codes.csv").read_bytes()


def test_what_cannot_be_done_is_refused_and_leaves_nothing(
    detector: Detector, digits_detector: Detector, source: Path, pictures: Path, tmp_path: Path
) -> None:
    """A file without codes, a model without the programs, pictures on standard output."""
    with pytest.raises(KilterError, match="lacks 'code_0'"):
        decode_file(detector, source, tmp_path / "out.csv")
    with pytest.raises(KilterError, match="pictures go into a folder: name one with -o"):
        reconstruct_file(digits_detector, pictures, "-")
    old = load(ARTIFACTS / "format-2")
    for work in (encode_file, decode_file, reconstruct_file):
        with pytest.raises(KilterError, match="train it again"):
            work(old, source, tmp_path / "out.csv")
    assert list(tmp_path.iterdir()) == []
