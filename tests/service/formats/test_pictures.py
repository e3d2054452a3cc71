"""Tests of `formats.pictures`: no file of a folder is lost from sight, and none is taken for what it is not."""

from pathlib import Path

import pytest

from kilter.service.detector.errors import KilterError
from kilter.service.formats.pictures import find_pictures

HEADS = {
    "PNG": b"\x89PNG\r\n\x1a\n",
    "JPEG": b"\xff\xd8\xff\xe0",
    "TIFF": b"MM\0*",
    "WebP": b"RIFF\0\0\0\0WEBP",
    "BMP": b"BM\0\0\0\0\0\0\0\0",
}


def write(folder: Path, **files: str) -> Path:
    """Files of given kinds; `__` in a name is a `/`, the last `_` its point."""
    for name, kind in files.items():
        path = folder / ".".join(name.replace("__", "/").rsplit("_", 1))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(HEADS.get(kind, kind.encode()) + b"rest")
    return folder


@pytest.mark.parametrize("kind", HEADS)
def test_content_decides_and_not_the_ending(kind: str, tmp_path: Path) -> None:
    """A picture is one under any name."""
    assert find_pictures(write(tmp_path, a_dat=kind)).pictures == ("a.dat",)


def test_every_file_is_either_a_picture_a_mask_or_another(tmp_path: Path) -> None:
    """In nested folders, sorted; what only its name calls a picture is listed as one, and found broken later."""
    write(tmp_path, b_png="PNG", a__z_JPG="JPEG", a__b__c_tif="TIFF", a__empty_png="", notes_txt="BM says hello")
    found = find_pictures(tmp_path)
    assert found.pictures == ("a/b/c.tif", "a/empty.png", "a/z.JPG", "b.png")
    assert found.others == ("notes.txt",)
    assert found.masks == ()


def test_a_lossless_picture_beside_a_photograph_of_its_stem_is_its_mask(tmp_path: Path) -> None:
    """In the same folder only; two lossless pictures of one stem, or two photographs, are both pictures."""
    write(tmp_path, a_jpg="JPEG", a_png="PNG", b_png="PNG", x__b_jpg="JPEG", c_png="PNG", c_bmp="BMP", d_webp="WebP")
    write(tmp_path, d_jpg="JPEG", e_jpg="JPEG", e_png="")
    found = find_pictures(tmp_path)
    assert found.masks == ("a.png",)
    assert found.pictures == ("a.jpg", "b.png", "c.bmp", "c.png", "d.jpg", "d.webp", "e.jpg", "e.png", "x/b.jpg")


def test_hidden_files_are_passed_over_and_links_followed_once(tmp_path: Path) -> None:
    """A link that leads back into the folder ends the search there."""
    pictures = write(tmp_path / "pictures", a_png="PNG")
    write(pictures / ".thumbnails", a_png="PNG")
    (pictures / ".hidden.png").write_bytes(HEADS["PNG"])
    other = write(tmp_path / "other", b_png="PNG")
    (pictures / "link").symlink_to(other)
    (other / "back").symlink_to(pictures)
    assert find_pictures(pictures).pictures == ("a.png", "link/b.png")


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    """So is one below it that may not be read."""
    with pytest.raises(KilterError, match=r"absent cannot be read: No such file"):
        find_pictures(tmp_path / "absent")
