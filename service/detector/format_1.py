"""Artifacts of format 1, which Kilter 0.1 wrote, read as those of format 2.

Format 1 had one entry for a network with its score, the names of whose tensors began otherwise, no list of programs,
and what training says of itself without types.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

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
"""How the names of tensors began, and how they begin now."""
LOCAL_FEATURES = "local features of training pictures, as a pretrained network gives them"


class Upgrade(NamedTuple):
    """A manifest as format 2 has it, and how the names of tensors begin."""

    manifest: dict[str, Any]
    prefixes: Mapping[str, str | None]
    """None for tensors that are of no use any more."""

    def renamed(self, tensors: Mapping[str, Value]) -> dict[str, Value]:
        """What is held by the names of tensors, by their names in format 2."""
        names = {name: self._name(name) for name in tensors}
        return {new: tensors[old] for old, new in names.items() if new is not None}

    def _name(self, name: str) -> str | None:
        for old, new in self.prefixes.items():
            if name.startswith(old):
                return None if new is None else new + name.removeprefix(old)
        return name


def upgrade(manifest: Mapping[str, Any]) -> Upgrade:
    """The manifest of format 1 as one of format 2. Raises ArtifactError if it lacks what every one had."""
    try:
        network, score, prefixes = _entries(manifest["network"])
        schema, training = manifest["schema"], manifest["training"]
        made = Upgrade({}, prefixes)
        new = dict(manifest) | {
            "format": 2,
            "network": network,
            "score": manifest["score"] | score,
            "programs": {"score": "score.onnx", "detail": "detail.onnx"},
            "training": _training(training, schema["rows"]),
            "tensors": made.renamed(manifest["tensors"]),
        }
    except KeyError as error:
        raise ArtifactError(f"missing required field `{error.args[0]}`") from None
    except (TypeError, AttributeError) as error:
        raise ArtifactError(f"a part of it is not what it must be in format 1: {error}") from None
    return made._replace(manifest=new)


def _entries(entry: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any], Mapping[str, str | None]]:
    """The entries of the network and of the score, and how the names of tensors begin."""
    shape, kind, score = entry["network"], entry["kind"], entry["score"]
    network = {"kind": kind, "members": shape.get("members", 1), "latent": shape["latent"], "shape": shape}
    prefixes: Mapping[str, str | None]
    if kind == "tabular-vae":
        made, prefixes = {"kind": score, "shape": {}}, TABLE_PREFIXES
        if score == "neighbours":
            memory = entry["neighbours"]["memory"]
            rows = {"rows": memory["core"] + memory["suspects"], "of": "training rows"}
            made |= {"shape": entry["neighbours"], "memory": rows}
    elif kind == "image-vae":
        made, prefixes = {"kind": score, "shape": {}}, PICTURE_PREFIXES | {"network.evidence.": None}
        if score == "neighbours":
            rows = {"rows": entry["memory"]["rows"], "of": "training pictures, reduced"}
            made = {"kind": "picture-neighbours", "shape": {"memory": entry["memory"]}, "memory": rows}
            prefixes = PICTURE_PREFIXES
    elif kind == "image-vae-backbone":
        backbone, prefixes = entry["backbone"], BACKBONE_PREFIXES
        network["kind"] = "image-vae"
        made = {
            "kind": "backbone-neighbours",
            "shape": {name: backbone[name] for name in ("channels", "features")}
            | {name: entry[name] for name in ("axes", "places")},
            "memory": {"rows": entry["places"], "of": LOCAL_FEATURES},
            "backbone": {name: backbone[name] for name in ("file", "sha256")},
        }
    else:
        raise ArtifactError(f"this version knows no network of kind {kind!r}")
    return network, made | {"grid": entry.get("grid")}, prefixes


def _training(training: Mapping[str, Any], rows: int) -> dict[str, Any]:
    """What training says of itself, where it said nothing with what stands for that."""
    names = ("files", "history", "notes", "warnings")
    unsaid: dict[str, Any] = {
        "rows": rows,
        "settings": {},
        **dict.fromkeys(("sizes", "label", "normal", "diagnosis", "comparison", "suspects")),
        **{name: [] for name in names},
    }
    return unsaid | {
        name: value for name, value in training.items() if name in (*unsaid, "evaluation", "recalibration")
    }
