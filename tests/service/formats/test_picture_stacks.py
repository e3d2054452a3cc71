"""Tests of `formats.pictures`: images in IDX, npy and npz files, and what is no image."""

import gzip
import struct
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from kilter.service.detector.errors import KilterError
from kilter.service.formats.pictures import IDX_TYPES, read_stack, read_stack_labels, stack_kind

CODES = {kind: code for code, kind in IDX_TYPES.items()}


def idx(values: npt.NDArray[Any], kind: str = ">u1") -> bytes:
    """An array as an IDX file."""
    head = bytes([0, 0, CODES[kind], values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    return head + values.astype(kind).tobytes()


@given(st.data())
def test_idx_gives_back_what_was_written(data: st.DataObject) -> None:
    """Of every type of number, gzipped or not; the first bytes decide, not the name."""
    kind = data.draw(st.sampled_from(sorted(CODES)))
    shape = arrays.array_shapes(min_dims=3, max_dims=4, max_side=3)
    numbers = {"allow_nan": False} if "f" in kind else {}
    values = data.draw(arrays.arrays(np.dtype(kind), shape, elements=numbers))
    packed = data.draw(st.booleans())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "images.csv"
        path.write_bytes(gzip.compress(idx(values, kind)) if packed else idx(values, kind))
        assert stack_kind(path) == "idx"
        np.testing.assert_array_equal(read_stack(path).images, values)


def test_npy_and_npz_hold_images_from_three_dimensions_on(tmp_path: Path) -> None:
    """A matrix in a file is a table; the labels of an npz file come along."""
    images = np.arange(24.0).reshape(2, 3, 4)
    np.save(tmp_path / "a.npy", images)
    np.save(tmp_path / "table.npy", images[0])
    np.savez(tmp_path / "a.npz", X=images, y=[0, 1])
    np.savez(tmp_path / "table.npz", X=images[0])
    (tmp_path / "text.csv").write_text("a,b\n1,2\n")
    kinds = {path.name: stack_kind(path) for path in tmp_path.iterdir()}
    assert kinds == {"a.npy": "npy", "a.npz": "npz", "table.npy": None, "table.npz": None, "text.csv": None}
    assert stack_kind(tmp_path) is None
    np.testing.assert_array_equal(read_stack(tmp_path / "a.npy").images, images)
    found = read_stack(tmp_path / "a.npz")
    np.testing.assert_array_equal(found.images, images)
    assert found.labels is not None
    assert found.labels.tolist() == [0, 1]


def test_labels_are_read_from_idx_and_npy(tmp_path: Path) -> None:
    """One for each image; an array of images is none."""
    (tmp_path / "labels").write_bytes(gzip.compress(idx(np.array([3, 1, 4]))))
    np.save(tmp_path / "labels.npy", np.array(["good", "bad"]))
    assert read_stack_labels(tmp_path / "labels").tolist() == [3, 1, 4]
    assert read_stack_labels(tmp_path / "labels.npy").tolist() == ["good", "bad"]
    (tmp_path / "images").write_bytes(idx(np.zeros((1, 2, 2))))
    with pytest.raises(KilterError, match="a label for each image is needed"):
        read_stack_labels(tmp_path / "images")
    (tmp_path / "text").write_text("3\n1\n")
    with pytest.raises(KilterError, match=r"text cannot be read as labels, in IDX or npy: its first bytes"):
        read_stack_labels(tmp_path / "text")


def cases() -> dict[str, tuple[bytes, str]]:
    """What a damaged or hostile file holds, and what is said of it."""
    whole = idx(np.zeros((2, 3, 3)))
    return {
        "cut": (whole[:-1], "its head says 18 bytes"),
        "long": (whole + b"\0", "its head says 18 bytes"),
        "cut in the head": (whole[:9], "its head says"),
        "huge": (bytes([0, 0, 8, 3]) + b"\xff" * 12, "its head says"),
        "packed and cut": (gzip.compress(whole)[:-4], "cannot be read as images"),
        "labels": (idx(np.zeros(3)), r"array of shape \(3,\)"),
        "nothing": (idx(np.zeros((0, 3, 3))), "there is no image in it"),
    }


@pytest.mark.parametrize("name", cases())
def test_a_damaged_file_is_named_with_what_is_wrong(name: str, tmp_path: Path) -> None:
    """A KilterError, and no memory by what the head of a file claims."""
    content, message = cases()[name]
    path = tmp_path / "images.idx"
    path.write_bytes(content)
    with pytest.raises(KilterError, match=rf"images\.idx.*{message}"):
        read_stack(path)


def test_arrays_of_anything_but_numbers_are_refused(tmp_path: Path) -> None:
    """Pickled objects are not even read."""
    np.save(tmp_path / "objects.npy", np.full((1, 2, 2), None), allow_pickle=True)
    np.save(tmp_path / "complex.npy", np.zeros((1, 2, 2), complex))
    np.savez(tmp_path / "labels.npz", X=np.zeros((2, 3, 3)), y=np.zeros(3))
    for name, message in (("objects", "Python objects"), ("complex", "images are numbers"), ("labels", "y has shape")):
        with pytest.raises(KilterError, match=message):
            read_stack(next(tmp_path.glob(f"{name}.*")))
