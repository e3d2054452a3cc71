"""A file is there whole, or it is not there."""

from pathlib import Path

import pytest

from kilter.service.formats.whole_files import publish, sync_folder, whole_file, write_through, write_whole


def test_small_files_appear_whole(tmp_path: Path) -> None:
    """In the place of what was there."""
    for content in (b"one", b"two"):
        write_whole(tmp_path / "x", content)
        assert (tmp_path / "x").read_bytes() == content
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_what_goes_wrong_leaves_what_was_there(tmp_path: Path) -> None:
    """And nothing beside it."""
    write_whole(tmp_path / "x", b"one")
    with pytest.raises(TypeError), whole_file(tmp_path / "x") as file:
        file.write("no bytes")  # type: ignore[call-overload]
    assert (tmp_path / "x").read_bytes() == b"one"
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_a_complete_file_gets_its_place(tmp_path: Path) -> None:
    """In a folder that is made for it."""
    write_through(tmp_path / "data", b"all")
    publish(tmp_path / "data", tmp_path / "a" / "b" / "x")
    assert (tmp_path / "a" / "b" / "x").read_bytes() == b"all"
    assert not (tmp_path / "data").exists()
    sync_folder(tmp_path / "absent")  # where a folder cannot be had on the disk, nothing is done
