"""The artifact: one version of a model on disk, and how it is read, audited and packed.

It is untrusted input: every file's checksum is compared, the manifest is decoded into its types, shapes and
finiteness are checked, and only then is anything built. SHA256SUMS protects against corruption, not forgery.

Format number: raise `FORMAT` when a manifest or a file changes its meaning, teach `read_artifact` to read the format
before it (`detector.format_1` shows how), and add an artifact of the old format to `tests/service/detector/artifacts/`.
"""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from kilter.service.detector.arrays import Array
from kilter.service.detector.columns import decode_column
from kilter.service.detector.errors import ArtifactError
from kilter.service.detector.format_1 import upgrade
from kilter.service.detector.manifest import Manifest, Probes
from kilter.service.detector.networks import NETWORKS
from kilter.service.detector.scores import SCORES
from kilter.service.detector.store import SUMS

FORMAT = 2
MANIFEST = "manifest.json"
TENSORS = "tensors.safetensors"
PROBES = "probes.json"
SCORE_PROGRAM = "score"  # the one program that every artifact has
CALIBRATION_SCORES = "calibration.scores"
GROUP_SCORES = "calibration.groups"
"""The calibration scores of the groups that have their own, one group after the other, each ascending."""
_SUM_LINE = re.compile(r"([0-9a-f]{64})  ([A-Za-z0-9_.-]+)")


class Artifact(NamedTuple):
    """An artifact that passed every check that needs no network to be run."""

    manifest: Manifest
    tensors: dict[str, Array]
    programs: dict[str, bytes]
    """The exported programs as ONNX, by name: see `detector.runtime`."""
    probes: Probes

    @property
    def state(self) -> dict[str, Array]:
        """The tensors that are the state of the torch network and its score."""
        return {name: array for name, array in self.tensors.items() if name.startswith(("network.", "score."))}


def pack(
    manifest: Manifest,
    tensors: Mapping[str, Array],
    programs: Mapping[str, bytes],
    probes: Probes,
    documents: Mapping[str, bytes],
) -> dict[str, bytes]:
    """The files of an artifact by name, checksums last; `documents` are further files."""
    files = {
        MANIFEST: msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n",
        **{file: programs[name] for name, file in manifest.programs.items()},
        TENSORS: safetensors.numpy.save({name: np.asarray(array, order="C") for name, array in tensors.items()}),
        PROBES: msgspec.json.format(msgspec.json.encode(probes), indent=1) + b"\n",
        **documents,
    }
    sums = "".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in sorted(files.items()))
    return {**files, SUMS: sums.encode()}


def read_artifact(folder: Path) -> Artifact:
    """Read and audit the artifact of a version's folder. Raises ArtifactError, which names the file and the fault."""
    files = _verified(folder)
    place = PROBES
    try:
        probes = msgspec.json.decode(files[PROBES], type=Probes)
        place = TENSORS
        tensors = safetensors.numpy.load(files[TENSORS])
        place = MANIFEST
        manifest, tensors = _manifest(files[MANIFEST], tensors)
    except (msgspec.DecodeError, SafetensorError, ArtifactError, KeyError, ValueError) as error:
        raise ArtifactError(f"{folder / place}: {error}") from None
    if {len(probes.scores), len(probes.p_values), len(probes.anomalies)} != {len(probes.records)}:
        raise ArtifactError(f"{folder / PROBES}: there are not as many verdicts as records")
    _audit(folder, manifest, tensors)
    for file in manifest.programs.values():
        if file not in files:
            raise ArtifactError(f"{folder / SUMS} does not list {file}, which the manifest names as a program")
    return Artifact(manifest, tensors, {name: files[file] for name, file in manifest.programs.items()}, probes)


def _verified(folder: Path) -> dict[str, bytes]:
    """The content of every file, each equal to its checksum. What is hashed here is what is used."""
    try:
        lines = (folder / SUMS).read_text("ascii").removesuffix("\n").split("\n")
    except UnicodeDecodeError:
        raise ArtifactError(f"{folder / SUMS} is damaged: it is not ASCII text") from None
    except OSError as error:
        raise ArtifactError(f"{folder / SUMS} cannot be read: {error.strerror}; is this a model's folder?") from None
    files: dict[str, bytes] = {}
    for number, line in enumerate(lines, 1):
        match = _SUM_LINE.fullmatch(line)
        if not match:
            raise ArtifactError(f"{folder / SUMS} is damaged: line {number} is no checksum and file name")
        digest, name = match.groups()
        try:
            content = (folder / name).read_bytes()
        except OSError as error:
            raise ArtifactError(f"{folder / name}, listed in {SUMS}, cannot be read: {error.strerror}") from None
        if hashlib.sha256(content).hexdigest() != digest:
            raise ArtifactError(f"{folder / name} is damaged: its checksum is not the one in {SUMS}")
        files[name] = content
    for name in (MANIFEST, TENSORS, PROBES):
        if name not in files:
            raise ArtifactError(f"{folder / SUMS} does not list {name}, which every artifact has")
    return files


def _manifest(content: bytes, tensors: dict[str, Array]) -> tuple[Manifest, dict[str, Array]]:
    """The manifest in a file, and the tensors by their names in this format. Raises ArtifactError or DecodeError."""
    values = msgspec.json.decode(content, type=dict[str, Any])
    number = values.get("format")
    if isinstance(number, int) and number > FORMAT:
        raise ArtifactError(f"format {number} is newer than this version of Kilter can read ({FORMAT}): upgrade Kilter")
    if type(number) is not int or number < 1:
        raise ArtifactError(f"there is no artifact format {number!r}")
    if number == 1:
        values, tensors = upgrade(values, tensors)
    return msgspec.convert(values, Manifest, dec_hook=decode_column), tensors


def _audit(folder: Path, manifest: Manifest, tensors: Mapping[str, Array]) -> None:
    """Compare tensors and manifest, and the kinds of network and score with those that exist."""
    for what, kind, kinds in (("network", manifest.network.kind, NETWORKS), ("score", manifest.score.kind, SCORES)):
        if kind not in kinds:
            raise ArtifactError(f"{folder / MANIFEST}: this version knows no {what} of kind {kind!r}")
    if SCORE_PROGRAM not in manifest.programs:
        raise ArtifactError(f"{folder / MANIFEST}: there is no program {SCORE_PROGRAM!r}, which every artifact has")
    path = folder / TENSORS
    shapes = {name: array.shape for name, array in tensors.items()}
    for name in sorted(shapes.keys() | manifest.tensors.keys()):
        shape = manifest.tensors.get(name)
        if shapes.get(name) != shape:
            raise ArtifactError(f"{path}: tensor {name!r} has shape {shapes.get(name)}, the manifest says {shape}")
    for name, array in tensors.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ArtifactError(f"{path}: tensor {name!r} holds values that are not finite")
    scores = tensors.get(CALIBRATION_SCORES)
    if scores is None or scores.shape != (manifest.calibration.size,) or (np.diff(scores) < 0).any():
        raise ArtifactError(f"{path}: {CALIBRATION_SCORES!r} are not {manifest.calibration.size} ascending scores")
    grouped = manifest.calibration.by_group
    sizes = [group.size for group in grouped.groups] if grouped else []
    shape = tensors.get(GROUP_SCORES, np.empty(0)).shape
    if min(sizes, default=1) < 1 or shape != (sum(sizes),):
        raise ArtifactError(f"{path}: {GROUP_SCORES!r} are not the {sum(sizes)} scores of {len(sizes)} groups")
