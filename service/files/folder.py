"""The pictures of a folder: which of its files are pictures, and which of these are masks of others.

Content decides, never the ending of a name; but a file that only its name calls a picture is listed as one, so that it
is named when it cannot be read.
"""

import os
from collections import defaultdict
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from kilter.service.detector.errors import KilterError

ENDINGS = (".png", ".jpg", ".jpeg", ".jpe", ".webp", ".tif", ".tiff", ".bmp", ".dib")
MAGIC = {b"\x89PNG\r\n\x1a\n": "PNG", b"\xff\xd8\xff": "JPEG", b"II*\0": "TIFF", b"MM\0*": "TIFF"}
LOSSY = ("JPEG", "WebP")
"""Formats of photographs: a mask's edges would be blurred in them."""
ACCEPTED = "PNG, JPEG, WebP, TIFF and BMP"


class Found(NamedTuple):
    """The files of a folder by their paths in it, with `/`, in the order of these."""

    pictures: tuple[str, ...]
    masks: tuple[str, ...]
    """Pictures in a lossless format beside a photograph of the same stem in the same folder: `a.png` beside `a.jpg`."""
    others: tuple[str, ...]
    """Files that are no pictures."""


def find_pictures(folder: Path) -> Found:
    """Look through a folder and all below it, but for what is hidden by a name that begins with a point.

    Links are followed. Raises KilterError if the folder, or one below it, cannot be looked into.
    """
    kinds: dict[str, str] = {}
    others: list[str] = []
    for name in _files(folder):
        path = folder / name
        kind = _kind(path)
        if kind or path.suffix.lower() in ENDINGS:
            kinds[name] = kind
        else:
            others.append(name)
    masks = _masks(kinds)
    return Found(tuple(sorted(kinds.keys() - masks)), tuple(sorted(masks)), tuple(sorted(others)))


def _files(folder: Path) -> list[str]:
    """The paths in a folder of all files that are not hidden."""

    def refuse(error: OSError) -> None:
        raise KilterError(f"the folder {error.filename} cannot be read: {error.strerror}")

    found = []
    seen: set[tuple[int, int]] = set()
    for place, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        status = Path(place).stat()
        if (status.st_dev, status.st_ino) in seen:  # a link that leads back
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = [name for name in folders if not name.startswith(".")]
        here = Path(place).relative_to(folder)
        found += [(here / name).as_posix() for name in names if not name.startswith(".")]
    return found


def _kind(path: Path) -> str:
    """The format of a picture by its first bytes; nothing for what is none or cannot be read."""
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except OSError:
        return ""
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "WebP"
    if head.startswith(b"BM") and head[6:10] == bytes(4):
        return "BMP"
    return next((kind for magic, kind in MAGIC.items() if head.startswith(magic)), "")


def _masks(kinds: dict[str, str]) -> set[str]:
    stems: defaultdict[PurePosixPath, list[str]] = defaultdict(list)
    for name in kinds:
        stems[PurePosixPath(name).with_suffix("")].append(name)
    return {
        name
        for names in stems.values()
        if any(kinds[name] in LOSSY for name in names)
        for name in names
        if kinds[name] and kinds[name] not in LOSSY
    }
