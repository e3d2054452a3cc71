"""Artifacts: those that are stored beside the tests, and others with a file changed and the checksums made right."""

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from kilter.service.detector import Detector, load
from kilter.service.detector.artifact import read_artifact
from kilter.service.detector.runtime import TorchProgram
from kilter.service.detector.store import SUMS

ARTIFACTS = Path(__file__).parents[1] / "service" / "detector" / "artifacts"


def stored(name: str) -> dict[str, Any]:
    """The records that lie beside an artifact, and the verdicts on them of the version that wrote it.

    Records whose score lies at the edge of a rounding, where the last bit of a processor would decide, are not there.
    """
    content: dict[str, Any] = json.loads((ARTIFACTS / f"{name}.json").read_text())
    return content


def rebuilt(folder: Path) -> Detector:
    """A model as a GPU runs it: the torch network with the tensors of the artifact."""
    detector, content = load(folder), read_artifact(folder)
    detector.scorer.program = TorchProgram(content.manifest.network, content.manifest.score, content.state, "cpu", 256)
    return detector


def rewritten(source: Path, target: Path, changes: Mapping[str, Callable[[bytes], bytes]]) -> Path:
    """A copy of a version's folder in which `changes` were made to files, with checksums that fit."""
    shutil.copytree(source, target)
    for name, change in changes.items():
        (target / name).write_bytes(change((target / name).read_bytes()))
    names = sorted(path.name for path in target.iterdir() if path.name != SUMS)
    digests = {name: hashlib.sha256((target / name).read_bytes()).hexdigest() for name in names}
    (target / SUMS).write_text("".join(f"{digest}  {name}\n" for name, digest in digests.items()))
    return target
