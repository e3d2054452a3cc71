"""What a manifest's `training` says about the files that a model was trained on."""

import hashlib
from pathlib import Path
from typing import Any


def file_digest(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_names(training: dict[str, Any]) -> list[str]:
    """The names of the training files."""
    return [str(file.get("name", "")) for file in _files(training)]


def was_trained_on(training: dict[str, Any], digest: str) -> bool:
    """Whether a file with this SHA-256 is among the training files."""
    return any(file.get("sha256") == digest for file in _files(training))


def _files(training: dict[str, Any]) -> list[dict[str, Any]]:
    return [file for file in training.get("files", []) if isinstance(file, dict)]
