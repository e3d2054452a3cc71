"""Whether a file, or a folder of pictures, is one that a model was trained on."""

import hashlib
from pathlib import Path

from kilter.service.detector.findings import Training
from kilter.service.formats.addresses import AHEAD, Address, Place
from kilter.service.formats.contents import ContentHash, ContentRead
from kilter.service.formats.pictures import find_pictures


def source_bytes(path: Place) -> int:
    """The size of a file; of a folder that of its pictures. Raises OSError if one is not there."""
    if isinstance(path, Address):
        return path.facts().size
    if not path.is_dir():
        return path.stat().st_size
    return sum((path / name).stat().st_size for name in find_pictures(path).pictures)


def source_digest(path: Place) -> str:
    """The SHA-256 of a file; of a folder that of its pictures' names and SHA-256 sums, in the order of the names."""
    if isinstance(path, Address):
        return read_content(path).sha256
    if path.is_dir():
        sums = "".join(f"{source_digest(path / name)}  {name}\n" for name in find_pictures(path).pictures)
        return hashlib.sha256(sums.encode(errors="surrogateescape")).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_content(path: Place, size: int | None = None) -> ContentRead:
    """The first bytes of a file, so many or all. Raises OSError.

    Of a folder all pictures, but nothing if one of them cannot be read; nothing of a stream.
    """
    if isinstance(path, Address):
        with path.open_file() as file:
            while size is not None and file.tell() < size and file.read(min(AHEAD, size - file.tell())):
                pass
            return file.content(final=size is None)
    if path.is_dir():
        try:
            return ContentRead(source_bytes(path), source_digest(path))
        except OSError:
            return ContentRead()
    if not path.is_file():
        return ContentRead()
    content = ContentHash(path)
    try:
        return content.up_to(size)
    finally:
        content.close()


def was_trained_on(training: Training, path: Path) -> bool:
    """Whether a file or folder has the content of one that a model was trained on; it is read if the size is the same.

    What is no file, like a pipe, is not read; a folder of which a picture cannot be read is another one.
    """
    if not path.is_dir() and not path.is_file():
        return False
    try:
        same_size = source_bytes(path) in {file.bytes for file in training.files}
        return same_size and training.was_trained_on(source_digest(path))
    except OSError:
        return False
