"""Tests of `data.pictures`: from folders and arrays to rows, whatever lies in them."""

import gzip
import struct
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from kilter.service.detector.errors import KilterError
from kilter.service.detector.findings import Training
from kilter.service.detector.pictures.column import ImageColumn
from kilter.service.detector.pictures.pixels import DEEPEST
from kilter.service.detector.schema import Schema
from kilter.training.data.pictures import check_memory, holds_pictures, read_labelled_pictures, read_training_pictures
from kilter.training.data.source import TrainingSource
from tests.support.manifests import training
from tests.support.pictures import deep_png, deep_tiff, encoded, scene


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve pictures in nested folders: of several sizes, formats and depths; two of them are anomalies."""
    folder = tmp_path / "mixed"
    for name in ("good/fine", "bad"):
        (folder / name).mkdir(parents=True)
    for i in range(4):
        (folder / "good" / f"{i}.png").write_bytes(encoded(scene(40 + i, 50, channels=1, seed=i)))
        (folder / "good" / f"{i}.jpg").write_bytes(encoded(scene(40, 50 + i, channels=1, seed=i), "JPEG"))
        (folder / "good" / "fine" / f"{i}.webp").write_bytes(encoded(scene(40, 50, seed=i), "WEBP"))
    deep = Image.fromarray(scene(40, 50, channels=1)[:, :, 0].astype(np.uint16) * 257)
    (folder / "good" / "deep.png").write_bytes(encoded(deep))
    for i in range(2):
        (folder / "bad" / f"{i}.bmp").write_bytes(encoded(scene(40, 50, seed=i + 9), "BMP"))
    return folder


def test_pictures_of_all_kinds_become_rows_of_one(folder: Path) -> None:
    """In colour as some are, in the order of their paths, without the masks, with labels, and with what was decided."""
    data = read_training_pictures(TrainingSource((folder,), normal="good"))
    assert data.draft.columns[0] == ImageColumn("image", 40, 50, 3, deep=DEEPEST)
    assert data.names == tuple(sorted(data.names))
    assert data.table.rows == len(data.names) == 11
    pixels = data.table.columns["image"]
    assert pixels.shape == (11, 40, 50, 3)
    assert pixels.dtype == np.uint8
    assert data.labels is not None
    assert data.labels.anomalous.sum() == 2
    assert data.readable.all()
    assert [decision.kind for decision in data.decisions] == ["image"]
    text = "\n".join(data.notes)
    assert "each of 4 files was left out as a mask" in text
    assert "11 pictures of 4 sizes, from 40 x 50 to 40 x 53 (height x width), were brought to 40 x 50" in text


def test_the_size_that_is_asked_for_is_taken(folder: Path) -> None:
    """And the picture is stretched to it."""
    data = read_training_pictures(TrainingSource((folder,), image_size=(8, 200)))
    assert data.draft.columns[0] == ImageColumn("image", 8, 200, 3, deep=DEEPEST)
    assert "All pictures count as normal" in "\n".join(data.notes)


def test_a_broken_picture_is_named_counted_and_left_out(folder: Path) -> None:
    """It keeps its row, with a problem, and the others go on."""
    (folder / "good" / "0.jpg").write_bytes((folder / "good" / "0.jpg").read_bytes()[:90])
    (folder / "good" / "empty.png").write_bytes(b"")
    data = read_training_pictures(TrainingSource((folder,)))
    broken = [i for i, name in enumerate(data.names) if name in ("good/0.jpg", "good/empty.png")]
    assert np.flatnonzero(~data.readable).tolist() == broken
    (note,) = [note for note in data.notes if "cannot be read" in note]
    assert note.startswith("2 of 12 pictures cannot be read and were left out: good/0.jpg: ")
    assert "good/empty.png: the picture is empty" in note


def test_too_many_broken_pictures_are_an_error(folder: Path) -> None:
    """It names the first ones and asks whether these are the right pictures."""
    for path in sorted(folder.rglob("*.webp"))[:3]:
        path.write_bytes(b"RIFF\0\0\0\0WEBP")
    with pytest.raises(KilterError, match=r"3 of 11 pictures cannot be read .*fine/0\.webp: .*the right pictures\?"):
        read_training_pictures(TrainingSource((folder,)))
    for path in folder.rglob("*.*"):
        path.write_bytes(b"")
    with pytest.raises(KilterError, match=r"none of 15 pictures that were looked at can be read, first of all bad/0"):
        read_training_pictures(TrainingSource((folder,)))


def test_pictures_that_are_all_the_same_are_nothing_to_learn_from(tmp_path: Path) -> None:
    """As a table without a column that varies."""
    for i in range(3):
        (tmp_path / f"{i}.png").write_bytes(encoded(scene()))
    with pytest.raises(KilterError, match="all pictures that count as normal are the same"):
        read_training_pictures(TrainingSource((tmp_path,)))


def test_the_orientation_of_a_photograph_is_applied(tmp_path: Path) -> None:
    """A picture that lies on its side, with a note of it in its EXIF data, is the row that the upright one is."""
    turned = Image.Exif()
    turned[0x0112] = 6
    picture = Image.fromarray(scene())
    (tmp_path / "a.png").write_bytes(encoded(picture))
    (tmp_path / "b.png").write_bytes(encoded(picture.transpose(Image.Transpose.ROTATE_90), exif=turned))
    (tmp_path / "c.png").write_bytes(encoded(scene(seed=1)))
    pixels = read_training_pictures(TrainingSource((tmp_path,))).table.columns["image"]
    np.testing.assert_array_equal(pixels[0], pixels[1])


def test_an_array_and_files_of_the_same_pictures_are_the_same_rows(tmp_path: Path) -> None:
    """So that it does not matter in which form they come."""
    scenes = np.stack([scene(seed=i) for i in range(6)])
    for i, picture in enumerate(scenes):
        (tmp_path / f"{i}.png").write_bytes(encoded(picture))
    np.save(tmp_path / "scenes.npy", scenes)
    np.savez(tmp_path / "scenes.npz", X=scenes, y=[0, 0, 0, 0, 1, 1])
    head = bytes([0, 0, 8, 4]) + struct.pack(">4I", *scenes.shape)
    (tmp_path / "scenes.idx.gz").write_bytes(gzip.compress(head + scenes.tobytes()))
    folder = read_training_pictures(TrainingSource((tmp_path,)))
    array = read_training_pictures(TrainingSource((tmp_path / "scenes.npy",)))
    idx = read_training_pictures(TrainingSource((tmp_path / "scenes.idx.gz",)))
    packed = read_training_pictures(TrainingSource((tmp_path / "scenes.npz",), "y", "0"))
    assert folder.draft == array.draft == idx.draft == packed.draft
    np.testing.assert_array_equal(folder.table.columns["image"], idx.table.columns["image"])
    np.testing.assert_array_equal(folder.table.columns["image"], array.table.columns["image"])
    np.testing.assert_array_equal(folder.table.columns["image"], packed.table.columns["image"])
    assert packed.labels is not None
    assert packed.labels.anomalous.tolist() == [False] * 4 + [True] * 2


@settings(deadline=None, max_examples=20)
@given(bits=st.integers(9, 16), channels=st.sampled_from([1, 3]), offset=st.floats(0, 0.9), seed=st.integers(0, 99))
def test_scenes_are_the_same_in_an_array_and_in_files(bits: int, channels: int, offset: float, seed: int) -> None:
    """PNG or TIFF of 16 bits, of any depth, that fill it or not: the same column, and the same pixels."""
    rng = np.random.default_rng(seed)
    white = 2**bits - 1
    scenes = rng.uniform(offset * white, white, (12, 9, 11, channels)).astype(np.uint16)
    with TemporaryDirectory() as place:
        folder = Path(place) / "scenes"
        folder.mkdir()
        for i, one in enumerate(scenes):
            name, write = ("tif", deep_tiff) if i % 2 else ("png", deep_png)
            (folder / f"{i:02d}.{name}").write_bytes(write(one))
        np.save(Path(place) / "scenes.npy", scenes if channels > 1 else scenes[..., 0])
        files = read_training_pictures(TrainingSource((folder,)))
        array = read_training_pictures(TrainingSource((Path(place) / "scenes.npy",)))
    assert files.draft == array.draft
    assert files.decisions == array.decisions
    np.testing.assert_array_equal(files.table.columns["image"], array.table.columns["image"])


def test_numbers_of_an_array_are_taken_by_their_range(tmp_path: Path) -> None:
    """What is black and white stands in the schema."""
    np.save(tmp_path / "a.npy", np.random.default_rng(0).uniform(0, 16, (30, 8, 8)).round())
    data = read_training_pictures(TrainingSource((tmp_path / "a.npy",)))
    assert data.draft.columns[0] == ImageColumn("image", 8, 8, 1, 0.0, 24.0, deep=(0.0, 24.0))
    assert "black is 0 and white 24" in data.decisions[0].why
    assert data.table.columns["image"].max() == 170


def test_more_than_fits_the_memory_is_refused_before_it_is_decoded() -> None:
    """With how many there may be."""
    check_memory(1000, ImageColumn("image", 64, 64, 3))
    with pytest.raises(KilterError, match=r"100,000 pictures of 256 x 256 .* take 19\.7 GB, .* at most 10,922 of them"):
        check_memory(100_000, ImageColumn("image", 256, 256, 3))


def test_sources_that_do_not_go_together_are_refused(folder: Path, tmp_path: Path) -> None:
    """A table beside pictures, arrays beside folders, and groups of what has no columns."""
    np.save(tmp_path / "a.npy", np.zeros((3, 8, 8)))
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    assert [holds_pictures(path) for path in (folder, tmp_path / "a.npy", tmp_path / "a.csv")] == [True, True, False]
    for source, message in (
        (TrainingSource((folder, tmp_path / "a.csv")), r"a\.csv is no folder of pictures"),
        (TrainingSource((folder, tmp_path / "a.npy")), "is a folder, and other sources are arrays"),
        (TrainingSource((folder,), group_by="site"), "--group-by site: pictures have no columns"),
    ):
        with pytest.raises(KilterError, match=message):
            read_training_pictures(source)


def test_a_folder_is_read_by_a_model_s_schema(folder: Path) -> None:
    """At its size; with the labels that it was trained with if there are such folders, else with none."""
    column = ImageColumn("image", 16, 16, 1)
    trained, schema = training(normal="good"), Schema((column,), 11)
    rows = read_labelled_pictures(TrainingSource((folder,), None, None), schema, trained)
    assert rows.table.columns["image"].shape == (11, 16, 16, 1)
    assert rows.anomalous is not None
    assert rows.anomalous.sum() == 2
    assert "were brought to 16 x 16" in "\n".join(rows.notes)
    assert "Pictures labelled 'good' count as normal, all others as anomalies." in rows.notes
    unlabelled = read_labelled_pictures(TrainingSource((folder / "bad",), None, None), schema, trained)
    assert unlabelled.anomalous is None
    assert "No labels: every picture counts as normal." in unlabelled.notes
    with pytest.raises(KilterError, match="no picture lies in a folder 'fine and good'"):
        read_labelled_pictures(TrainingSource((folder,), None, "fine and good"), schema, trained)


def test_images_of_an_npz_file_have_the_labels_that_they_were_trained_by(tmp_path: Path) -> None:
    """Not those of a file of labels, which are of the images that were trained on."""
    np.savez(tmp_path / "new.npz", X=np.stack([scene(seed=i) for i in range(4)]), y=[3, 3, 4, 3])
    np.save(tmp_path / "labels.npy", [3, 4, 4, 4])
    column = ImageColumn("image", 16, 16, 1)

    def anomalous(label: str | None, trained: Training) -> list[bool] | None:
        rows = read_labelled_pictures(
            TrainingSource((tmp_path / "new.npz",), label, None), Schema((column,), 4), trained
        )
        return None if rows.anomalous is None else rows.anomalous.tolist()

    assert anomalous(None, training(label="y", normal="3")) == [False, False, True, False]
    trained = training(label=str(tmp_path / "labels.npy"), normal="3")
    assert anomalous(None, trained) is None
    assert anomalous(str(tmp_path / "labels.npy"), trained) == [False, True, True, True]
