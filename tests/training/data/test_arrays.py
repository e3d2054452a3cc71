"""Tests of `data.arrays`: images of arrays, their labels, and what their numbers mean."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from kilter.service.detector.errors import KilterError, PictureError
from kilter.service.detector.pictures.column import ImageColumn
from kilter.training.data.arrays import ArrayPictures
from kilter.training.data.survey import PictureTraits

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
