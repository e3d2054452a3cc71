"""Folders and stacks of pictures get the verdicts that each picture gets, and heat maps beside them."""

import csv
import json
import os
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image

from kilter.service.detector import KilterError
from kilter.service.formats.pictures import PictureReader
from kilter.service.formats.scoring import Summary, score_file
from tests.support.picture_model import dark, picture_detector, spotted
from tests.support.pictures import encoded
from tests.support.serving import detector as table_detector

SPOT = spotted()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five pictures in nested folders, two of them strange, a file that is broken, and one that is none."""
    made = {
        "b.png": encoded(dark()),
        "a.jpg": encoded(SPOT, "JPEG", quality=95),
        "line/2/c.bmp": encoded(SPOT, "BMP"),
        "line/2/d.webp": encoded(dark(seed=1), "WEBP"),
        "line/1/e.tiff": encoded(dark(seed=2), "TIFF"),
        "line/broken.png": encoded(SPOT)[:200],
        "notes.txt": b"hello",
        ".hidden/f.png": encoded(SPOT),
    }
    for name, content in made.items():
        path = tmp_path / "pictures" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path / "pictures"


def scored(path: Path, out: Path, **options: Any) -> tuple[Summary, list[dict[str, str]]]:
    """What became of them, and the rows of a CSV."""
    summary = score_file(picture_detector(), path, out, **options)
    with out.open(newline="") as file:
        return summary, list(csv.DictReader(file))


def test_each_picture_of_a_folder_has_a_row(folder: Path, tmp_path: Path) -> None:
    """By its path, in the order of these; one that is broken has its error, and the others their verdicts."""
    summary, rows = scored(folder, tmp_path / "out.csv")
    assert (summary.records, summary.anomalies, summary.errors) == (6, 2, 1)
    assert summary.first_error.startswith("line/broken.png: the picture is cut short; accepted are PNG, JPEG")
    assert summary.notes == ("files that are no pictures: 1, such as notes.txt",)
    assert [row["picture"] for row in rows] == [
        "a.jpg",
        "b.png",
        "line/1/e.tiff",
        "line/2/c.bmp",
        "line/2/d.webp",
        "line/broken.png",
    ]
    assert [row["kilter_anomaly"] for row in rows] == ["true", "false", "false", "true", "false", ""]
    judged = picture_detector().score([{"image": (folder / row["picture"]).read_bytes()} for row in rows[:5]])
    assert [float(row["kilter_score"]) for row in rows[:5]] == judged.score.tolist()
    assert [float(row["kilter_p_value"]) for row in rows[:5]] == judged.p_value.tolist()
    assert json.loads(rows[3]["kilter_reasons"]) == [
        {"box": {"left": 24, "top": 32, "width": 24, "height": 32}, "share": 1.0}
    ]
    assert [bool(row["kilter_reasons"]) for row in rows] == [True, False, False, True, False, False]
    assert [bool(row["kilter_error"]) for row in rows] == [False] * 5 + [True]


@pytest.mark.parametrize("reasons", ["anomalies", "all", "none"])
def test_reasons_are_for_those_that_are_asked_for(folder: Path, tmp_path: Path, reasons: str) -> None:
    """And no more of them than were asked for."""
    _, rows = scored(folder, tmp_path / "out.csv", reasons=reasons, limit=1)
    told = [json.loads(row["kilter_reasons"]) if row["kilter_reasons"] else None for row in rows]
    if reasons == "none":
        assert told == [None] * 6
    else:
        every = reasons == "all"
        assert [found is not None for found in told] == [True, every, every, True, every, False]
        assert all(len(found) <= 1 for found in told if found is not None)


def test_heat_maps_lie_as_their_pictures_do(folder: Path, tmp_path: Path) -> None:
    """One for each that could be judged, at its own size, under its own path, whose ending is `.png` once."""
    maps = tmp_path / "maps"
    _, rows = scored(folder, tmp_path / "out.csv", heatmaps=maps, reasons="none")
    written = sorted(path.relative_to(maps).as_posix() for path in maps.rglob("*") if path.is_file())
    judged = [row["picture"] for row in rows if not row["kilter_error"]]
    assert written == sorted(name if name.endswith(".png") else f"{name}.png" for name in judged)
    with Image.open(maps / "line/2/c.bmp.png") as image:
        drawn = np.asarray(image).astype(int)
    assert drawn.shape == (64, 96, 3)
    assert np.abs(drawn - SPOT).sum(axis=2)[40:60, 28:44].mean() > 50


def test_each_picture_has_a_heat_map_of_its_own(tmp_path: Path) -> None:
    """Even if another one's would have its name."""
    folder, maps = tmp_path / "pictures", tmp_path / "maps"
    folder.mkdir()
    for name in ("a.bmp", "a.bmp.png", "b.PNG"):
        (folder / name).write_bytes(encoded(dark(), "BMP" if name == "a.bmp" else "PNG"))
    scored(folder, tmp_path / "out.csv", heatmaps=maps)
    assert sorted(path.name for path in maps.iterdir()) == ["a.bmp.png", "a.bmp.png.png", "b.PNG"]


def test_heat_maps_never_leave_their_folder(folder: Path, tmp_path: Path) -> None:
    """Nor get among the pictures, nor over what is there."""
    maps, elsewhere = tmp_path / "maps", tmp_path / "elsewhere"
    maps.mkdir()
    elsewhere.mkdir()
    (maps / "line").symlink_to(elsewhere)
    with pytest.raises(KilterError, match=r"holds files already: .* with --force"):
        scored(folder, tmp_path / "out.csv", heatmaps=maps)
    with pytest.raises(KilterError, match=r"leads out of .* by a link"):
        scored(folder, tmp_path / "out.csv", heatmaps=maps, force=True)
    assert list(elsewhere.iterdir()) == []
    assert not (tmp_path / "out.csv").exists()
    with pytest.raises(KilterError, match="whose pictures are read"):
        scored(folder, tmp_path / "out.csv", heatmaps=folder / "maps")
    with pytest.raises(KilterError, match="is a file"):
        scored(folder, tmp_path / "out.csv", heatmaps=folder / "notes.txt")


def test_one_picture_is_scored(folder: Path, tmp_path: Path) -> None:
    """By its name."""
    _, rows = scored(folder / "line/2/c.bmp", tmp_path / "out.csv", heatmaps=tmp_path / "maps")
    assert [(row["picture"], row["kilter_anomaly"]) for row in rows] == [("c.bmp", "true")]
    assert (tmp_path / "maps" / "c.bmp.png").exists()


@pytest.mark.parametrize("form", ["npy", "npz", "idx"])
def test_a_stack_of_pictures_is_scored(form: str, tmp_path: Path) -> None:
    """Each by its number, with the verdict that it has as a file."""
    pictures = np.stack([dark(seed=seed)[:, :, 0] for seed in range(150)])
    pictures[77] = spotted(16, 16)[:, :, 0]
    path = tmp_path / f"stack.{form}"
    match form:
        case "npy":
            np.save(path, pictures)
        case "npz":
            np.savez(path, X=pictures)
        case _:
            path.write_bytes(b"\0\0\x08\x03" + np.array(pictures.shape, ">u4").tobytes() + pictures.tobytes())
    summary, rows = scored(path, tmp_path / "out.csv", heatmaps=tmp_path / "maps")
    assert (summary.records, summary.anomalies) == (150, 1)
    assert rows[77] | {"picture": "77", "kilter_anomaly": "true"} == rows[77]
    assert (tmp_path / "maps" / "77.png").exists()
    files = picture_detector().score([{"image": encoded(picture)} for picture in pictures])
    assert [float(row["kilter_score"]) for row in rows] == files.score.tolist()


def test_pictures_are_read_some_at_a_time(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By their number and by the length of their files, which changes nothing."""
    _, whole = scored(folder, tmp_path / "a.csv")
    monkeypatch.setattr("kilter.service.formats.pictures.BATCH_BYTES", 2000)
    assert max(batch.frame.height for batch in PictureReader(folder).batches()) < 6
    assert scored(folder, tmp_path / "b.csv")[1] == whole
    monkeypatch.setattr("kilter.service.formats.pictures.BATCH", 1)
    assert scored(folder, tmp_path / "c.csv")[1] == whole


def test_a_false_discovery_rate_is_kept(folder: Path, tmp_path: Path) -> None:
    """All pictures are looked at twice, as the rows of a table are."""
    summary, rows = scored(folder, tmp_path / "out.csv", fdr=0.1)
    assert summary.discoveries is not None
    assert [row["kilter_anomaly"] for row in rows] == ["true", "false", "false", "true", "false", ""]
    with pytest.raises(KilterError, match="needs a file to write to"):
        score_file(picture_detector(), folder, "-", fdr=0.1, stdout=BytesIO())


def test_other_formats_are_written(folder: Path, tmp_path: Path) -> None:
    """With the types of the columns, and compressed by the name's ending."""
    score_file(picture_detector(), folder, tmp_path / "out.parquet")
    frame = pl.read_parquet(tmp_path / "out.parquet")
    assert frame["kilter_anomaly"].to_list() == [True, False, False, True, False, None]
    out = BytesIO()
    score_file(picture_detector(), folder, "-", stdout=out)
    assert out.getvalue().startswith(b"picture,kilter_score,kilter_p_value,kilter_anomaly,kilter_reasons,kilter_error")
    score_file(picture_detector(), folder, tmp_path / "out.csv.gz")
    assert pl.read_csv(tmp_path / "out.csv.gz").height == 6


def test_pictures_that_were_judged_are_known_again(folder: Path, tmp_path: Path) -> None:
    """By their content, if one has another time of change; one more, or another one, is another input."""
    out = tmp_path / "out.csv"
    score_file(picture_detector(), folder, out, resume=True)
    picture = folder / "b.png"
    later = picture.stat().st_mtime_ns - 10**12
    os.utime(picture, ns=(later, later))
    assert score_file(picture_detector(), folder, out, resume=True).notes == (f"{out} is finished already",)
    content = picture.read_bytes()
    picture.write_bytes(bytes([*content[:-1], content[-1] ^ 1]))
    os.utime(picture, ns=(later + 1, later + 1))
    with pytest.raises(KilterError, match="is not the file that was read before"):
        score_file(picture_detector(), folder, out, resume=True)
    picture.write_bytes(content + b"more")
    with pytest.raises(KilterError, match="inputs differs"):
        score_file(picture_detector(), folder, out, resume=True)


def test_a_file_that_cannot_be_read_is_told(folder: Path, tmp_path: Path) -> None:
    """And a name that is no text is written as one."""
    (folder / "gone.png").symlink_to(folder / "nowhere")
    odd = os.fsencode(folder) + b"/\xff.png"
    Path(os.fsdecode(odd)).write_bytes(encoded(dark()))
    summary, rows = scored(folder, tmp_path / "out.csv", heatmaps=tmp_path / "maps")
    errors = {row["picture"]: row["kilter_error"] for row in rows}
    assert errors["gone.png"] == "the file cannot be read: No such file or directory"
    assert errors["\\udcff.png"] == ""
    assert summary.errors == 2


def test_what_holds_no_pictures_is_refused(tmp_path: Path) -> None:
    """An empty folder, nothing at all, and a table; a table's model has no use for pictures."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(KilterError, match="holds no pictures"):
        scored(tmp_path / "empty", tmp_path / "out.csv")
    with pytest.raises(KilterError, match="there is no folder or file"):
        scored(tmp_path / "nothing", tmp_path / "out.csv")
    table = tmp_path / "table.csv"
    table.write_text("a,b\n1,2\n")
    with pytest.raises(KilterError, match="is no picture: PNG, JPEG"):
        scored(table, tmp_path / "out.csv")
    with pytest.raises(KilterError, match="judges records of fields"):
        score_file(table_detector(), table, tmp_path / "other.csv", heatmaps=tmp_path / "maps")
    (tmp_path / "out.csv").touch()
    with pytest.raises(KilterError, match="exists already"):
        scored(table, tmp_path / "out.csv")
