"""Folders of models whose versions differ in their calibration, made in milliseconds from a stored artifact."""

from functools import cache
from pathlib import Path

import msgspec
import numpy as np

from kilter.service.detector import Calibration, artifact, store
from kilter.service.detector.artifact import CALIBRATION_SCORES, Artifact
from kilter.service.detector.manifest import Choice, Probes
from kilter.service.detector.thresholds import Thresholds, promise_of

SOURCE = Path(__file__).parents[1] / "service" / "detector" / "artifacts" / "format-1"
NAME = "plant"


@cache
def _source() -> Artifact:
    return artifact.read_artifact(SOURCE)


def add(folder: Path, name: str = NAME, *, target_fpr: float = 0.05, size: int = 199, spread: float = 1.0) -> int:
    """Add a version with `size` calibration scores around those of the probes, and return its number."""
    found = _source()
    probes = np.array(found.probes.scores)

    def files(version: int) -> dict[str, bytes]:
        rng = np.random.default_rng(version)
        digits = found.manifest.score.digits
        calibration = Calibration.of(rng.normal(probes.mean(), spread * probes.std(), size), target_fpr, digits)
        manifest = msgspec.structs.replace(
            found.manifest,
            name=name,
            version=version,
            calibration=promise_of(Thresholds(calibration, None), Choice("rate"), "random"),
            tensors=found.manifest.tensors | {CALIBRATION_SCORES: (size,)},
        )
        told = Probes(
            found.probes.records,
            found.probes.scores,
            calibration.p_values(probes).tolist(),
            calibration.anomalies(probes).tolist(),
        )
        tensors = found.tensors | {CALIBRATION_SCORES: calibration.scores}
        return artifact.pack(manifest, tensors, found.programs, told, {})

    return int(store.add(folder, name, files).name)


def damage(folder: Path, version: int, name: str = NAME) -> None:
    """Change a byte of a version's program."""
    program = folder / name / str(version) / "score.onnx"
    content = bytearray(program.read_bytes())
    content[-1] ^= 1
    program.write_bytes(content)
