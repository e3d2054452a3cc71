"""Tests of `data.folders`: which pictures count, what they are called, and what folders say of them."""

from pathlib import Path

import pytest

from kilter.service.detector.errors import KilterError
from kilter.training.data.folders import FolderPictures

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
