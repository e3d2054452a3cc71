"""The manifest: everything about an artifact that a person, or a program that does not run it, may want to read."""

from typing import Any

import msgspec

from kilter.service.detector.findings import Training
from kilter.service.detector.promise import Promise
from kilter.service.detector.schema import Schema


class NetworkEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which network it is."""

    kind: str
    """Its name in `networks.NETWORKS`."""
    members: int
    latent: int
    """Dimensions of its latent space."""
    shape: Any
    """What rebuilds it, which only the network itself reads."""


class MemoryEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What of the training records is part of a score: the artifact is then to be treated like the training data."""

    rows: int
    of: str
    """What it holds so many of, like `training rows`."""


class BackboneEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The pretrained network that the user gave."""

    file: str
    """The name of its file."""
    sha256: str


class ScoreEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which score it is, and how exactly it is held."""

    kind: str
    """Its name in `scores.SCORES`."""
    name: str
    """What users call it."""
    unit: str
    digits: int
    """Decimal places to which scores are rounded before they meet the calibration scores."""
    tolerance: float
    """Two devices may disagree on a score by this times max(1, |score|)."""
    shape: Any
    """What rebuilds it, which only the score itself reads."""
    grid: tuple[int, int] | None = None
    """Rows and columns of the places of a picture, where it is places that speak against one."""
    memory: MemoryEntry | None = None
    backbone: BackboneEntry | None = None


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """See the module."""

    format: int
    name: str
    version: int
    created: str
    schema: Schema
    network: NetworkEntry
    score: ScoreEntry
    calibration: Promise
    training: Training
    libraries: dict[str, str]
    programs: dict[str, str]
    """The files of the exported programs, by the names that `detector.runtime` knows."""
    tensors: dict[str, tuple[int, ...]]
    """Shape of each tensor in tensors.safetensors."""


class Probes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Synthetic records with the verdicts that they must get; replayed at every load."""

    records: list[dict[str, Any]]
    scores: list[float]
    p_values: list[float]
    anomalies: list[bool]
