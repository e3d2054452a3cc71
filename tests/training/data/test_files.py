"""Tests of `data.files`: which pictures count, their names and labels, and how they are decoded."""

import gzip
import os
import signal
import struct
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from kilter.service.detector.errors import KilterError, PictureError
from kilter.service.detector.pictures.column import ImageColumn
from kilter.service.detector.pictures.pixels import to_pixels
from kilter.training.data.files import CHUNK, ArrayPictures, FolderPictures, content_of_file, decoded_file, each
from kilter.training.data.survey import PictureTraits
from tests.support.pictures import GREY, encoded, scene

PNG = b"\x89PNG\r\n\x1a\n"
JPEG = b"\xff\xd8\xff\xe0"


def made(folder: Path, *names: str) -> Path:
    """A folder of files, by their endings pictures or not."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes({".png": PNG, ".jpg": JPEG}.get(path.suffix, b"text"))
    return folder


@pytest.fixture
def tiles(tmp_path: Path) -> Path:
    """Good and bad pictures in nested folders, a mask, and a file that is no picture."""
    return made(
        tmp_path / "tiles",
        "bad/1.jpg",
        "bad/1.png",
        "bad/deep/2.png",
        "good/3.png",
        "more/good/4.png",
        "0.png",
        "a.txt",
    )


def test_a_folder_of_the_normal_name_anywhere_on_the_way_makes_a_picture_normal(tiles: Path) -> None:
    """Other folders hold anomalies, and what lies in none is not labelled."""
    pictures = FolderPictures([tiles])
    assert pictures.names == ("0.png", "bad/1.jpg", "bad/deep/2.png", "good/3.png", "more/good/4.png")
    labels = pictures.labels(None, "good")
    assert labels is not None
    assert labels.anomalous.tolist() == [False, True, True, False, False]
    assert labels.labelled.tolist() == [False, True, True, True, True]
    assert pictures.labels(None, None) is None


def test_what_is_left_out_is_said(tiles: Path) -> None:
    """Masks and files of other kinds, by their names; and folders that might have been labels."""
    pictures = FolderPictures([tiles])
    assert pictures.notes == [
        f"In {tiles}, 1 file was left out as a mask, since a photograph of the same name lies beside it: bad/1.png.",
        f"In {tiles}, 1 file was passed over, being no picture of a known format: a.txt.",
    ]
    assert "All pictures count as normal, whatever folder they lie in" in (pictures.unlabelled() or "")
    assert FolderPictures([tiles / "good"]).unlabelled() is None


def test_of_several_folders_their_own_names_count(tiles: Path) -> None:
    """As they do when the folder around them is given."""
    pictures = FolderPictures([tiles / "good", tiles / "bad"])
    assert pictures.names == ("good/3.png", "bad/1.jpg", "bad/deep/2.png")
    labels = pictures.labels(None, "good")
    assert labels is not None
    assert labels.anomalous.tolist() == [False, True, True]


def test_subfolders_can_be_left_out(tiles: Path) -> None:
    """Wherever they lie; one that is not there is an error."""
    assert FolderPictures([tiles], ["deep", "more"]).names == ("0.png", "bad/1.jpg", "good/3.png")
    with pytest.raises(KilterError, match="--exclude names 'depe', and no pictures lie in such a folder"):
        FolderPictures([tiles], ["deep", "depe"])


@pytest.mark.parametrize(
    ("label", "normal", "message"),
    [
        (None, "fine", r"no picture lies in a folder 'fine'; pictures lie in 'good' \(2\), 'tiles' \(1\), 'bad' \(1\)"),
        ("y", "good", "the labels of pictures in folders are the names of subfolders"),
    ],
)
def test_labels_that_are_not_there_are_named(tiles: Path, label: str | None, normal: str, message: str) -> None:
    """With those that are."""
    with pytest.raises(KilterError, match=message):
        FolderPictures([tiles]).labels(label, normal)


def test_a_folder_without_pictures_says_what_would_be_read(tmp_path: Path) -> None:
    """And what lies there instead."""
    with pytest.raises(KilterError, match=r"no picture in .*: PNG, JPEG, .* are read. In .*: a.txt, b.csv\."):
        FolderPictures([made(tmp_path, "a.txt", "b.csv")])


def test_a_picture_is_not_read_twice(tiles: Path) -> None:
    """It would stand on both sides of a split."""
    with pytest.raises(KilterError, match=r"3\.png would be read 2 times: name each folder once, and none within"):
        FolderPictures([tiles, tiles / "good"])


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """More pictures than a process is given at once, of several sizes, one of them broken and one not there."""
    folder = tmp_path_factory.mktemp("pictures")
    paths = [folder / f"{i:03d}.png" for i in range(2 * CHUNK + 3)]
    for i, path in enumerate(paths):
        path.write_bytes(encoded(scene(20 + i, 30, seed=i)))
    paths[5].write_bytes(paths[5].read_bytes()[:100])
    paths[7].unlink()
    return paths


@pytest.mark.parametrize("alone", [0, 1 << 40], ids=["processes", "one process"])
def test_pictures_come_in_their_order_and_broken_ones_with_their_reason(paths: list[Path], alone: int) -> None:
    """Each as it is read by itself, with its own size; and progress ends with the last."""
    reports: list[tuple[int, int]] = []
    work = partial(decoded_file, GREY)
    pictures = list(each(work, paths, lambda done, total: reports.append((done, total)), alone=alone))
    assert len(pictures) == len(paths)
    for i, (path, one) in enumerate(zip(paths, pictures, strict=True)):
        if i in (5, 7):
            assert isinstance(one, PictureError)
            continue
        assert not isinstance(one, PictureError)
        assert (one.height, one.width) == (20 + i, 30)
        np.testing.assert_array_equal(one.pixels, to_pixels(path.read_bytes(), GREY))
    assert "cut short" in str(pictures[5])
    assert "No such file" in str(pictures[7])
    assert reports[-1] == (len(paths), len(paths))
    assert [done for done, _ in reports] == sorted({done for done, _ in reports})


def die(path: Path) -> Path:
    """End the process that works on a picture, as a kernel without memory does."""
    os._exit(9)


def test_a_process_that_dies_ends_the_reading_with_what_to_do(paths: list[Path]) -> None:
    """It does not hang, and says what the reason may be."""
    with pytest.raises(KilterError, match="may have run out of memory"):
        list(each(die, paths, lambda done, total: None, alone=0))


def test_a_file_that_is_too_long_is_not_read_into_memory(tmp_path: Path) -> None:
    """Its length is looked at before."""
    path = tmp_path / "long.png"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(PictureError, match="longer than"):
        content_of_file(path)


def deaf(path: Path) -> bool:
    """Whether the process that works on a picture does not hear Ctrl-C."""
    return signal.getsignal(signal.SIGINT) == signal.SIG_IGN


def test_an_interruption_is_heard_by_the_process_that_waits_alone(paths: list[Path]) -> None:
    """So that Ctrl-C ends all in one message, and not in one of each process."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background of a shell it is ignored
    try:
        assert set(each(deaf, paths, lambda done, total: None, alone=0)) == {True}
        assert signal.getsignal(signal.SIGINT) == signal.default_int_handler
        assert not deaf(paths[0])
    finally:
        signal.signal(signal.SIGINT, before)


IMAGES = np.random.default_rng(0).integers(0, 256, (5, 9, 8), np.uint8)


def seen(path: Path) -> list[PictureTraits | PictureError]:
    """What is seen of all images of a file."""
    pictures = ArrayPictures([path])
    return list(pictures.look_at(np.arange(len(pictures.names))))


def test_images_of_several_files_follow_one_another(tmp_path: Path) -> None:
    """Each is called by its file and its place there, and decoded as it is."""
    np.save(tmp_path / "a.npy", IMAGES[:2])
    np.savez(tmp_path / "b.npz", X=IMAGES[2:])
    pictures = ArrayPictures([tmp_path / "a.npy", tmp_path / "b.npz"])
    assert pictures.names == ("a.npy[0]", "a.npy[1]", "b.npz[0]", "b.npz[1]", "b.npz[2]")
    told: list[tuple[int, int]] = []
    found = list(pictures.decoded(ImageColumn("image", 9, 8, 1), lambda *done: told.append(done)))
    pixels = [one.pixels for one in found if not isinstance(one, PictureError)]
    np.testing.assert_array_equal(np.stack(pixels)[..., 0], IMAGES)
    assert told == [(5, 5)]


@pytest.mark.parametrize("kind", [">u2", "<f4", "i4"])
def test_what_numbers_mean_is_measured_unless_they_are_bytes(kind: str, tmp_path: Path) -> None:
    """In any byte order."""
    np.save(tmp_path / "a.npy", IMAGES.astype(kind) * 10)
    one = seen(tmp_path / "a.npy")[0]
    assert one == PictureTraits(9, 8, False, float(IMAGES[0].min()) * 10, float(IMAGES[0].max()) * 10, kind != "<f4")
    np.save(tmp_path / "b.npy", IMAGES)
    assert seen(tmp_path / "b.npy")[0] == PictureTraits(9, 8, False)


def test_colour_is_looked_for_in_channels(tmp_path: Path) -> None:
    """Three that are alike are grey; channels may come first, which is said."""
    grey = np.stack([IMAGES] * 3, axis=3)
    coloured = grey.copy()
    coloured[..., 0] //= 2
    for name, images, expected in (("a", grey, False), ("b", coloured, True), ("c", np.moveaxis(coloured, 3, 1), True)):
        np.save(tmp_path / f"{name}.npy", images)
        assert seen(tmp_path / f"{name}.npy")[0] == PictureTraits(9, 8, expected)
    assert "come before height and width" in ArrayPictures([tmp_path / "c.npy"]).notes[0]
    np.save(tmp_path / "d.npy", np.zeros((5, 7, 9, 8)))
    with pytest.raises(KilterError, match="an image has 1 to 4 channels"):
        ArrayPictures([tmp_path / "d.npy"])


def test_an_image_that_is_not_finite_is_broken(tmp_path: Path) -> None:
    """The others are not."""
    images = IMAGES / 255
    images[1, 0, 0] = np.nan
    np.save(tmp_path / "a.npy", images)
    assert [isinstance(one, PictureError) for one in seen(tmp_path / "a.npy")] == [False, True, False, False, False]
    decoded = ArrayPictures([tmp_path / "a.npy"]).decoded(ImageColumn("image", 9, 8, 1, 0, 1), lambda *done: None)
    assert [isinstance(one, PictureError) for one in decoded] == [False, True, False, False, False]


def test_labels_come_from_a_file_or_from_the_array_itself(tmp_path: Path) -> None:
    """In IDX or npy, or as y of an npz file; the value of normal ones is compared as text."""
    labels = np.array([3, 1, 3, 4, 3], np.uint8)
    np.savez(tmp_path / "a.npz", X=IMAGES, y=labels.astype(float))
    np.save(tmp_path / "labels.npy", labels.astype(str))
    head = b"\0\0\x08\x01" + struct.pack(">I", 5)
    (tmp_path / "labels.gz").write_bytes(gzip.compress(head + labels.tobytes()))
    pictures = ArrayPictures([tmp_path / "a.npz"])
    for label in ("y", str(tmp_path / "labels.npy"), str(tmp_path / "labels.gz")):
        found = pictures.labels(label, "3")
        assert found is not None
        assert found.anomalous.tolist() == [False, True, False, True, False]
        assert found.labelled.all()
    assert pictures.labels(None, None) is None
    assert "--label y --normal VALUE" in (pictures.unlabelled() or "")


def test_labels_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    """With the number of labels, or the remedy."""
    np.save(tmp_path / "a.npy", IMAGES)
    np.save(tmp_path / "few.npy", np.arange(4))
    pictures = ArrayPictures([tmp_path / "a.npy"])
    few = str(tmp_path / "few.npy")
    for label, normal, message in (
        (few, "3", "there are 4 labels for 5 images"),
        ("y", "3", "only npz files have an array y"),
        (None, "3", "name a file of labels"),
        (str(tmp_path / "absent"), "3", "cannot be read as labels"),
    ):
        with pytest.raises(KilterError, match=message):
            pictures.labels(label, normal)
    with pytest.raises(KilterError, match="arrays of images have neither columns nor folders"):
        ArrayPictures([tmp_path / "a.npy"], ["x"])


def test_images_of_one_file_are_called_by_their_place_alone(tmp_path: Path) -> None:
    """As they are where they are scored."""
    np.save(tmp_path / "a.npy", IMAGES)
    assert ArrayPictures([tmp_path / "a.npy"]).names == ("0", "1", "2", "3", "4")
