"""The kinds of network, and the models that users choose among: a module each, and entries in `NETWORKS` and `MODELS`.

Importing this package imports no torch.
"""

from typing import TYPE_CHECKING, NamedTuple

from kilter.service.detector.errors import ArtifactError, KilterError
from kilter.service.detector.plugin import imported

if TYPE_CHECKING:
    from kilter.service.detector.networks.base import Network

NETWORKS: "dict[str, str | type[Network]]" = {
    "tabular-vae": "kilter.service.detector.networks.tabular:TabularVAE",
    "linear-vae": "kilter.service.detector.networks.linear:LinearVAE",
    "image-vae": "kilter.service.detector.networks.pictures:PictureVAE",
    "binary-vae": "kilter.service.detector.networks.binary:BinaryPictureVAE",
    "tabular-ae": "kilter.service.detector.networks.autoencoder:TabularAutoencoder",
    "image-ae": "kilter.service.detector.networks.autoencoder:PictureAutoencoder",
    "tabular-cvae": "kilter.service.detector.networks.conditional:ConditionalVAE",
    "tabular-vq": "kilter.service.detector.networks.codebook:TabularQuantiser",
    "image-vq": "kilter.service.detector.networks.codebook:PictureQuantiser",
    "image-gan": "kilter.service.detector.networks.adversarial:AdversarialVAE",
    "tabular-dae": "kilter.service.detector.networks.denoising:TabularDenoiser",
    "image-dae": "kilter.service.detector.networks.denoising:PictureDenoiser",
}
"""Kind, as a manifest names it, to the class or its place."""
DEFAULTS = {"table": "tabular-vae", "image": "image-vae"}
"""Modality to the kind that is trained unless another is asked for."""


class ModelKind(NamedTuple):
    """A model of the detector `vae`, as users name it."""

    networks: dict[str, str]
    """Modality to the kind of network in `NETWORKS`."""
    beta: float = 1.0
    """Weight of the KL term, unless another is asked for."""


MODELS = {
    "vae": ModelKind(DEFAULTS),
    "beta-vae": ModelKind(DEFAULTS, beta=4.0),
    "binary-vae": ModelKind({"image": "binary-vae"}),
    "cvae": ModelKind({"table": "tabular-cvae"}),
    "vq-vae": ModelKind({"table": "tabular-vq", "image": "image-vq"}),
    "vae-gan": ModelKind({"image": "image-gan"}),
    "ae": ModelKind({"table": "tabular-ae", "image": "image-ae"}),
    "dae": ModelKind({"table": "tabular-dae", "image": "image-dae"}),
}


def network_kind(model: str, modality: str) -> str:
    """The kind of network of a model for a modality. Raises KilterError if there is no such model, or none for it."""
    if model not in MODELS:
        raise KilterError(f"there is no model {model!r}: there are {', '.join(MODELS)}")
    networks = MODELS[model].networks
    if modality not in networks:
        able = ", ".join(name for name, kind in MODELS.items() if modality in kind.networks)
        raise KilterError(
            f"the model {model!r} is for the modality {', '.join(networks)}: of {modality!r} there are {able}"
        )
    return networks[modality]


def network_class(kind: str) -> "type[Network]":
    """The class of a kind of network. Imports torch. Raises ArtifactError if there is no such kind."""
    if kind not in NETWORKS:
        raise ArtifactError(f"this version knows no network of kind {kind!r}")
    return imported(NETWORKS[kind])
