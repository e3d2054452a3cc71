"""The kinds of network: a module each, and an entry in `NETWORKS`. Importing this package imports no torch."""

from typing import TYPE_CHECKING

from kilter.service.detector.errors import ArtifactError
from kilter.service.detector.plugin import imported

if TYPE_CHECKING:
    from kilter.service.detector.networks.base import Network

NETWORKS: "dict[str, str | type[Network]]" = {
    "tabular-vae": "kilter.service.detector.networks.tabular:TabularVAE",
    "linear-vae": "kilter.service.detector.networks.linear:LinearVAE",
    "image-vae": "kilter.service.detector.networks.pictures:PictureVAE",
}
"""Kind, as a manifest names it, to the class or its place."""
DEFAULTS = {"table": "tabular-vae", "image": "image-vae"}
"""Modality to the kind that is trained unless another is asked for."""


def network_class(kind: str) -> "type[Network]":
    """The class of a kind of network. Imports torch. Raises ArtifactError if there is no such kind."""
    if kind not in NETWORKS:
        raise ArtifactError(f"this version knows no network of kind {kind!r}")
    return imported(NETWORKS[kind])
