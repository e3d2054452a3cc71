"""Artifacts of format 1, which Kilter 0.1 wrote, read as those of format 2.

Format 1 had one entry for a network with its score, whose tensors had other names, no list of programs, and an entry
of the training without types.
"""

from collections.abc import Mapping
from typing import Any, TypeVar

from kilter.service.detector.errors import ArtifactError

Value = TypeVar("Value")
TABLE_PREFIXES = {
    "network.usual": "score.evidence.usual",
    "network.neighbours.": "score.",
    "network.network.": "network.",
}
PICTURE_PREFIXES = {
    "network.network.": "network.",
    "network.memory.": "score.memory.",
    "network.contrasts.": "score.evidence.contrasts.",
    "network.cell_": "score.evidence.cell_",
    "network.evidence.": "score.",
}
BACKBONE_PREFIXES = {"network.network.": "network.", "network.": "score."}
"""How the names of tensors began, and how they begin now; None for tensors that are not used any more."""
LOCAL_FEATURES = "local features of training pictures, as a pretrained network gives them"


def upgrade(manifest: Mapping[str, Any], tensors: Mapping[str, Value]) -> tuple[dict[str, Any], dict[str, Value]]:
    """A manifest and tensors of format 1 as those of format 2. Raises ArtifactError if the manifest lacks an entry."""
    try:
        network, score, prefixes = _entries(manifest["network"])
        new = dict(manifest) | {
            "format": 2,
            "network": network,
            "score": manifest["score"] | score,
            "programs": {"score": "score.onnx", "detail": "detail.onnx"},
            "training": _training(manifest["training"], manifest["schema"]["rows"]),
            "tensors": _renamed(manifest["tensors"], prefixes),
        }
    except KeyError as error:
        raise ArtifactError(f"missing required field `{error.args[0]}`") from None
    except (TypeError, AttributeError) as error:
        raise ArtifactError(f"a part of it is not what it must be in format 1: {error}") from None
    return new, _renamed(tensors, prefixes)


def _renamed(values: Mapping[str, Value], prefixes: Mapping[str, str | None]) -> dict[str, Value]:
    """A mapping by names of tensors, by their names in format 2; some tensors are not used any more."""
    renamed: dict[str, Value] = {}
    for name, value in values.items():
        old = next((prefix for prefix in prefixes if name.startswith(prefix)), "")
        new = prefixes.get(old, "")
        if new is not None:
            renamed[new + name.removeprefix(old)] = value
    return renamed


def _entries(entry: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any], Mapping[str, str | None]]:
    """The entries of the network and of the score, and how the names of tensors begin."""
    shape, kind, score = entry["network"], entry["kind"], entry["score"]
    network = {"kind": kind, "members": shape.get("members", 1), "latent": shape["latent"], "shape": shape}
    prefixes: Mapping[str, str | None]
    if kind == "tabular-vae":
        fields, prefixes = {"kind": score, "shape": {}}, TABLE_PREFIXES
        if score == "neighbours":
            memory = entry["neighbours"]["memory"]
            rows = {"rows": memory["core"] + memory["suspects"], "of": "training rows"}
            fields |= {"shape": entry["neighbours"], "memory": rows}
    elif kind == "image-vae":
        fields, prefixes = {"kind": score, "shape": {}}, PICTURE_PREFIXES | {"network.evidence.": None}
        if score == "neighbours":
            rows = {"rows": entry["memory"]["rows"], "of": "training pictures, reduced"}
            fields = {"kind": "picture-neighbours", "shape": entry["memory"], "memory": rows}
            prefixes = PICTURE_PREFIXES
    elif kind == "image-vae-backbone":
        backbone, prefixes = entry["backbone"], BACKBONE_PREFIXES
        network["kind"] = "image-vae"
        fields = {
            "kind": "backbone-neighbours",
            "shape": {name: backbone[name] for name in ("channels", "features")}
            | {name: entry[name] for name in ("axes", "places")},
            "memory": {"rows": entry["places"], "of": LOCAL_FEATURES},
            "backbone": {name: backbone[name] for name in ("file", "sha256")},
        }
    else:
        raise ArtifactError(f"this version knows no network of kind {kind!r}")
    return network, fields | {"grid": entry.get("grid")}, prefixes


def _training(training: Mapping[str, Any], rows: int) -> dict[str, Any]:
    """The entry of the training, with empty values for what it lacked."""
    empty: dict[str, Any] = {
        "rows": rows,
        "settings": {},
        **dict.fromkeys(("sizes", "label", "normal", "diagnosis", "comparison", "suspects")),
        **{name: [] for name in ("files", "history", "notes", "warnings")},
    }
    known = (*empty, "evaluation", "recalibration")
    return empty | {name: value for name, value in training.items() if name in known}
