"""Tests of `formats.folders`: each picture has a path of its own in the folder, and never one outside of it."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilter.service.detector import KilterError
from kilter.service.formats.folders import check_folder, png_name, write_png


@given(st.lists(st.sampled_from(["a", "a.png", "a.PNG", "a.png.png", "b/a.jpg", "b/a"]), unique=True))
def test_no_two_pictures_have_one_name(pictures: list[str]) -> None:
    """All of them end in .png, and one that does already keeps its name if it comes first."""
    written: set[str] = set()
    names = [png_name(picture, written) for picture in pictures]
    assert len(set(names)) == len(pictures)
    assert all(name.lower().endswith(".png") for name in names)
    assert [name for name, picture in zip(names, pictures, strict=True) if not name.startswith(picture)] == []


def test_a_folder_that_must_not_be_written_to_is_refused(tmp_path: Path) -> None:
    """A file, one among the pictures that are read, and one that holds files already, unless it is forced."""
    source, full, file = tmp_path / "in", tmp_path / "full", tmp_path / "file"
    source.mkdir()
    full.mkdir()
    for path in (file, full / "old"):
        path.write_text("x")
    for folder, message in (
        (file, "is a file: name a folder for the maps"),
        (source / "out", "whose pictures are read: name another folder for the maps"),
        (full, "holds files already: choose another folder, or write to it with --force"),
    ):
        with pytest.raises(KilterError, match=message):
            check_folder(folder, source, "maps", force=False)
    check_folder(full, source, "maps", force=True)
    check_folder(tmp_path / "new", source, "maps", force=False)


def test_nothing_is_written_outside_of_the_folder(tmp_path: Path) -> None:
    """Neither by a path that leads up, nor by a link."""
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path)
    for name in ("../x.png", "link/x.png"):
        with pytest.raises(KilterError, match=r"leads out of .*, by a link: name another folder for the maps"):
            write_png(folder, name, b"x", "maps")
    write_png(folder, "a/b.png", b"x", "maps")
    assert [path.name for path in tmp_path.rglob("*.png")] == ["b.png"]
