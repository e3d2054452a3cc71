"""What a manifest's `training` says about the files, and folders of pictures, that a model was trained on."""

import hashlib
from pathlib import Path
from typing import Any

from kilter.service.formats.pictures import find_pictures


def described(path: Path) -> dict[str, Any]:
    """Name, bytes and SHA-256 of a file; of a folder those of all its pictures together, and how many there are."""
    about = {"name": path.resolve().name, "bytes": path.stat().st_size, "sha256": source_digest(path)}
    if path.is_dir():
        pictures = find_pictures(path).pictures
        about |= {"pictures": len(pictures), "bytes": sum((path / name).stat().st_size for name in pictures)}
    return about


def source_digest(path: Path) -> str:
    """The SHA-256 of a file; of a folder that of its pictures' names and SHA-256 sums, in the order of the names."""
    if not path.is_dir():
        return _file_digest(path)
    names = find_pictures(path).pictures
    sums = "".join(f"{_file_digest(path / name)}  {name}\n" for name in names)
    return hashlib.sha256(sums.encode(errors="surrogateescape")).hexdigest()


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_names(training: dict[str, Any]) -> list[str]:
    """The names of the training files and folders."""
    return [str(file.get("name", "")) for file in _files(training)]


def was_trained_on(training: dict[str, Any], digest: str) -> bool:
    """Whether a file or folder with this SHA-256 (`source_digest`) is among those that were trained on."""
    return any(file.get("sha256") == digest for file in _files(training))


def _files(training: dict[str, Any]) -> list[dict[str, Any]]:
    return [file for file in training.get("files", []) if isinstance(file, dict)]
