"""The artifact: one version of a model on disk, and how it is read, audited and packed.

An artifact is untrusted input: every file's checksum is compared, the manifest is decoded into the types below, shapes
and finiteness are checked, and only then is anything built. SHA256SUMS protects against corruption, not forgery.

Format number: raise `FORMAT` when a manifest or a file changes its meaning, teach `read` to read the format before it,
and add an artifact of the old format to `tests/service/detector/artifacts/`.
"""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import safetensors.numpy
from safetensors import SafetensorError

from kilter.service.detector.columns import decode_column
from kilter.service.detector.errors import ArtifactError
from kilter.service.detector.networks import EXPORTED, KINDS
from kilter.service.detector.promise import CalibrationInfo
from kilter.service.detector.schema import Schema
from kilter.service.detector.store import SUMS

FORMAT = 1
MANIFEST = "manifest.json"
SCORE_PROGRAM = "score.onnx"
DETAIL_PROGRAM = "detail.onnx"
TENSORS = "tensors.safetensors"
PROBES = "probes.json"
REQUIRED = (MANIFEST, SCORE_PROGRAM, DETAIL_PROGRAM, TENSORS, PROBES)
CALIBRATION_SCORES = "calibration.scores"
GROUP_SCORES = "calibration.groups"
"""The calibration scores of the groups that have their own, one group after the other, each ascending."""
NETWORK_PREFIX = "network."
_SUM_LINE = re.compile(r"([0-9a-f]{64})  ([A-Za-z0-9_.-]+)")


class ScoreInfo(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which score it is, and how exactly it is held."""

    name: str
    unit: str
    digits: int
    """Decimal places to which scores are rounded before they meet the calibration scores."""
    tolerance: float
    """Two devices may disagree on a score by this times max(1, |score|)."""


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything about an artifact that a person may want to read."""

    format: int
    name: str
    version: int
    created: str
    schema: Schema
    network: dict[str, Any]
    score: ScoreInfo
    calibration: CalibrationInfo
    training: dict[str, Any]
    """Provenance: files with their checksums, rows, split sizes, settings, seed, losses."""
    libraries: dict[str, str]
    tensors: dict[str, tuple[int, ...]]
    """Shape of each tensor in tensors.safetensors."""


class Probes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Synthetic records with the verdicts that they must get; replayed at every load."""

    records: list[dict[str, Any]]
    scores: list[float]
    p_values: list[float]
    anomalies: list[bool]


class Programs(NamedTuple):
    """The exported network, as ONNX: what gives a score, and what tells more about a record. See `runtime`."""

    score: bytes
    detail: bytes


class Artifact(NamedTuple):
    """An artifact that passed every check that needs no network to be run."""

    manifest: Manifest
    tensors: dict[str, npt.NDArray[Any]]
    programs: Programs
    probes: Probes

    @property
    def network_tensors(self) -> dict[str, npt.NDArray[Any]]:
        """The state of the torch network."""
        return {
            name.removeprefix(NETWORK_PREFIX): array
            for name, array in self.tensors.items()
            if name.startswith(NETWORK_PREFIX)
        }


def pack(
    manifest: Manifest, tensors: Mapping[str, npt.NDArray[Any]], programs: Programs, probes: Probes, **documents: bytes
) -> dict[str, bytes]:
    """The files of an artifact by name, checksums last; `documents` are further files, `__` in a key for its dot."""
    files = {
        MANIFEST: msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n",
        SCORE_PROGRAM: programs.score,
        DETAIL_PROGRAM: programs.detail,
        TENSORS: safetensors.numpy.save({name: np.asarray(array, order="C") for name, array in tensors.items()}),
        PROBES: msgspec.json.format(msgspec.json.encode(probes), indent=1) + b"\n",
        **{name.replace("__", "."): content for name, content in documents.items()},
    }
    sums = "".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in sorted(files.items()))
    return {**files, SUMS: sums.encode()}


def read(folder: Path) -> Artifact:
    """Read and audit the artifact of a version's folder. Raises ArtifactError, which names the file and the fault."""
    files = _verified(folder)
    manifest = _manifest(folder, files[MANIFEST])
    try:
        probes = msgspec.json.decode(files[PROBES], type=Probes)
    except msgspec.DecodeError as error:
        raise ArtifactError(f"{folder / PROBES}: {error}") from None
    try:
        tensors = safetensors.numpy.load(files[TENSORS])
    except (SafetensorError, KeyError, ValueError) as error:
        raise ArtifactError(f"{folder / TENSORS}: {error}") from None
    _audit(folder, manifest, tensors)
    return Artifact(manifest, tensors, Programs(files[SCORE_PROGRAM], files[DETAIL_PROGRAM]), probes)


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
    absent = [name for name in REQUIRED if name not in files]
    if absent:
        raise ArtifactError(f"{folder / SUMS} does not list {absent[0]}, which every artifact has")
    return files


def _manifest(folder: Path, content: bytes) -> Manifest:
    path = folder / MANIFEST
    try:
        number = msgspec.json.decode(content, type=dict[str, Any]).get("format")
        if isinstance(number, int) and number > FORMAT:
            raise ArtifactError(
                f"{path}: format {number} is newer than this version of Kilter can read ({FORMAT}): upgrade Kilter"
            )
        if number != FORMAT:
            raise ArtifactError(f"{path}: there is no artifact format {number!r}")
        return msgspec.json.decode(content, type=Manifest, dec_hook=decode_column)
    except msgspec.DecodeError as error:
        raise ArtifactError(f"{path}: {error}") from None


def _audit(folder: Path, manifest: Manifest, tensors: Mapping[str, npt.NDArray[Any]]) -> None:
    """Hold tensors and manifest against each other, and the network's kind against those that are known."""
    kind = manifest.network.get("kind")
    if kind not in KINDS and kind not in EXPORTED:
        raise ArtifactError(f"{folder / MANIFEST}: this version knows no network of kind {kind!r}")
    path = folder / TENSORS
    found = {name: array.shape for name, array in tensors.items()}
    for name in sorted(found.keys() | manifest.tensors.keys()):
        if found.get(name) != manifest.tensors.get(name):
            stated = manifest.tensors.get(name)
            raise ArtifactError(f"{path}: tensor {name!r} has shape {found.get(name)}, the manifest says {stated}")
    for name, array in tensors.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ArtifactError(f"{path}: tensor {name!r} holds values that are not finite")
    scores = tensors.get(CALIBRATION_SCORES)
    if scores is None or scores.shape != (manifest.calibration.size,) or (np.diff(scores) < 0).any():
        raise ArtifactError(f"{path}: {CALIBRATION_SCORES!r} are not {manifest.calibration.size} ascending scores")
    grouped = manifest.calibration.by_group
    sizes = [group.size for group in grouped.groups] if grouped else []
    found_groups = tensors.get(GROUP_SCORES, np.empty(0))
    if min(sizes, default=1) < 1 or found_groups.shape != (sum(sizes),):
        raise ArtifactError(f"{path}: {GROUP_SCORES!r} are not the {sum(sizes)} scores of {len(sizes)} groups")
