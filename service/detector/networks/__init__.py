"""The kinds of network that an artifact can hold.

A kind is a torch module that is rebuilt from the `network` entry of a manifest and gives the outputs of a program
(`detector.runtime`). Another kind plugs in as a module here and a line in `KINDS`. Importing this package
imports no torch; building a network does.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

KINDS = {
    "tabular-vae": "kilter.service.detector.networks.scored",
    "image-vae": "kilter.service.detector.networks.scored_image",
}
"""Kind to the module whose `from_manifest(network)` builds it."""
EXPORTED = frozenset({"image-vae-backbone"})
"""Kinds that run on a CPU alone, as they were exported: a part of them, given by the user, is known as ONNX only."""


def build(network: Mapping[str, Any]) -> "nn.Module":
    """The torch module of a manifest's `network` entry, its tensors not yet loaded.

    Raises KeyError if the kind is unknown, ArtifactError if the entry does not fit it.
    """
    module: nn.Module = import_module(KINDS[network["kind"]]).from_manifest(network)
    return module
