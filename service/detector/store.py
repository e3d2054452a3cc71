"""The folder of models: `models/<name>/<version>/`, and which version serves.

A version appears whole or not at all: it is written beside its final place and renamed. A file `PINNED` in a model's
folder holds the number of the version that serves instead of the highest.
"""

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from kilter.service.detector.errors import ArtifactError, KilterError
from kilter.service.detector.leftovers import scratch_folder

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
PINNED = "PINNED"
SUMS = "SHA256SUMS"
_NUMBER = re.compile(r"[1-9]\d*")


def check_name(name: str) -> str:
    """The name itself. Raises KilterError if it is not valid."""
    if not NAME.fullmatch(name):
        raise KilterError(f"a model's name is 1 to 63 of a-z, 0-9 and '-', starting with no '-'; not {name!r}")
    return name


def models(folder: Path) -> list[str]:
    """The names of the models in a folder that have a complete version, sorted."""
    if not folder.is_dir():
        return []
    return sorted(path.name for path in folder.iterdir() if NAME.fullmatch(path.name) and versions(path))


def versions(model: Path) -> list[int]:
    """The complete versions of a model, ascending."""
    if not model.is_dir():
        return []
    return sorted(int(p.name) for p in model.iterdir() if _NUMBER.fullmatch(p.name) and (p / SUMS).is_file())


def pinned_version(model: Path) -> int | None:
    """The version that is pinned, if one is. Raises KilterError if the pin cannot be read or names no version."""
    pin_file = model / PINNED
    if not pin_file.exists():
        return None
    text = pin_file.read_text(errors="replace").strip()
    if not text.isdecimal() or int(text) not in versions(model):
        raise KilterError(f"{pin_file} names version {text!r}, which is not there: pin another one, or delete the file")
    return int(text)


def serving_version(model: Path) -> int:
    """The version that serves: the pinned one, else the highest. Raises ArtifactError if there is none."""
    complete = versions(model)
    if not complete:
        raise ArtifactError(f"no model at {model}: a model's folder holds versions, like {model / '1'}")
    return pinned_version(model) or complete[-1]


def resolve(path: Path) -> Path:
    """The version's folder that a path means: itself, or the one that serves of a model's folder."""
    if (path / SUMS).is_file() or (path / "manifest.json").is_file():
        return path
    if not path.exists():
        raise ArtifactError(f"there is nothing at {path}")
    return path / str(serving_version(path))


def pin(model: Path, version: int) -> None:
    """Let `version` serve until another is pinned or the pin is taken away. Raises KilterError if it is not there."""
    complete = versions(model)
    if version not in complete:
        raise KilterError(f"{model} has no version {version}; it has {', '.join(map(str, complete)) or 'none'}")
    with tempfile.NamedTemporaryFile("w", dir=model, prefix=".", delete=False) as file:
        file.write(f"{version}\n")
    Path(file.name).chmod(0o644)  # a temporary file is its owner's alone, and the service may be another user
    Path(file.name).replace(model / PINNED)


def unpin(model: Path) -> None:
    (model / PINNED).unlink(missing_ok=True)


def rollback(model: Path) -> int:
    """Pin the version before the one that serves, and return it. Raises KilterError if there is none."""
    current = serving_version(model)
    earlier = [version for version in versions(model) if version < current]
    if not earlier:
        raise KilterError(f"{model} has no version before {current} to roll back to")
    pin(model, earlier[-1])
    return earlier[-1]


def prune(model: Path, keep: int) -> list[int]:
    """Delete all but the `keep` highest versions and the one that serves; return what was deleted."""
    if keep < 1:
        raise KilterError("at least one version must be kept")
    current = serving_version(model)
    for left in model.glob(".deleted-*"):  # by a run that was killed
        shutil.rmtree(left, ignore_errors=True)
    gone = [version for version in versions(model)[:-keep] if version != current]
    for version in gone:
        folder = model / str(version)
        hidden = model / f".deleted-{version}-{os.getpid()}"
        folder.rename(hidden)
        shutil.rmtree(hidden)
    return gone


def add(folder: Path, name: str, files: Callable[[int], Mapping[str, bytes]]) -> Path:
    """Write `files(version)` as the next version of a model, whole or not at all: its folder. Raises KilterError."""
    model = folder / check_name(name)
    try:
        model.mkdir(parents=True, exist_ok=True)
        while True:
            version = max((int(p.name) for p in model.iterdir() if _NUMBER.fullmatch(p.name)), default=0) + 1
            target = model / str(version)
            try:
                with scratch_folder(model, ".partial-") as partial:
                    partial.chmod(0o755)
                    for file_name, content in files(version).items():
                        with (partial / file_name).open("wb") as file:
                            file.write(content)
                            file.flush()
                            os.fsync(file.fileno())
                    return partial.rename(target)
            except OSError:
                if not target.exists():
                    raise
    except OSError as error:
        raise KilterError(f"cannot write the model to {model}: {error.strerror or error}") from error
