"""Artifacts with one file changed and the checksums made right again."""

import hashlib
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from kilter.service.detector.store import SUMS


def rewritten(source: Path, target: Path, changes: Mapping[str, Callable[[bytes], bytes]]) -> Path:
    """A copy of a version's folder in which `changes` were made to files, with checksums that fit."""
    shutil.copytree(source, target)
    for name, change in changes.items():
        (target / name).write_bytes(change((target / name).read_bytes()))
    names = sorted(path.name for path in target.iterdir() if path.name != SUMS)
    digests = {name: hashlib.sha256((target / name).read_bytes()).hexdigest() for name in names}
    (target / SUMS).write_text("".join(f"{digest}  {name}\n" for name, digest in digests.items()))
    return target
