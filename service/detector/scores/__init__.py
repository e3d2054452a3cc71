"""The scores: a module each, with what it computes and how it is fitted, and an entry in `SCORES`.

Importing this package imports no torch; building a score does.
"""

from typing import TYPE_CHECKING, NamedTuple

from kilter.service.detector.errors import ArtifactError, KilterError
from kilter.service.detector.plugin import imported

if TYPE_CHECKING:
    from kilter.service.detector.scores.base import AnomalyScore

ROBUST = "robust standard units"
DISTANCE = "standard deviations"
SURPRISE = "nats of surprise"
MEMORY = "score.memory.rows"
VAE = "vae"
"""The detector that judges by a variational autoencoder, with one of several scores."""


class ScoreKind(NamedTuple):
    """A kind of score, as far as it is known without torch."""

    place: "str | type[AnomalyScore] | None"
    """The class, or its place; None if it is no longer trained, so that models have its exported program alone."""
    name: str  # the name that users ask for
    unit: str
    modality: str | None = None  # name of the modality that it is for; None if it is for any
    exported: bool = False
    """Whether only its exported program can run: a part of it is known as ONNX alone."""
    network: str | None = None
    """The kind of network beside it, where both together are a detector of their own, of the score's name."""
    measure: str = ""
    """What such a detector judges by, in words."""
    rows: str | None = None
    """The tensor of the records that it remembers, as points of the program `place`; None if it has no such points."""


_HERE = __name__
SCORES = {
    "weighted-surprise": ScoreKind(f"{_HERE}.combined:CombinedScore", "neighbours", SURPRISE, "table", rows=MEMORY),
    "picture-neighbours": ScoreKind(f"{_HERE}.pictures:PictureNeighbours", "neighbours", ROBUST, "image", rows=MEMORY),
    "backbone-neighbours": ScoreKind(f"{_HERE}.backbone:BackboneNeighbours", "neighbours", ROBUST, "image", True),
    "core-distance": ScoreKind(f"{_HERE}.core:RobustCore", "core", ROBUST, "table", rows=MEMORY),
    "elbo": ScoreKind(f"{_HERE}.elbo:Elbo", "elbo", "nats"),
    "reconstruction": ScoreKind(f"{_HERE}.elbo:Reconstruction", "reconstruction", "nats"),
    **{
        name: ScoreKind(f"{_HERE}.{place}", name, unit, "table", network="linear-vae", measure=measure, rows=rows)
        for name, place, unit, measure, rows in (
            (
                "nearest",
                "nearest:NearestDistance",
                DISTANCE,
                "the distance to the nearest normal row that is remembered",
                "score.rows",
            ),
            (
                "pca",
                "subspace:PrincipalSubspace",
                DISTANCE,
                "the distance to the principal subspace of normal rows",
                None,
            ),
            (
                "iforest",
                "forest:PathLength",
                "units of the isolation score",
                "how few random splits isolate a record",
                None,
            ),
            ("gmm", "density:MixtureDensity", "nats", "the density of a mixture of Gaussians", None),
        )
    },
    "neighbours": ScoreKind(None, "neighbours", ROBUST, "table", True),
    "core": ScoreKind(None, "core", ROBUST, "table", True),
    "combined": ScoreKind(None, "neighbours", SURPRISE, "table", True),
    "robust-core": ScoreKind(None, "core", ROBUST, "table", True),
}
"""The kinds by the names of a manifest. Of several that users ask for by one name the first that fits is trained."""


def find_score_kind(kind: str) -> ScoreKind:
    """A kind of score by its name in a manifest. Raises ArtifactError if there is no such kind."""
    if kind not in SCORES:
        raise ArtifactError(f"this version knows no score of kind {kind!r}")
    return SCORES[kind]


def score_class(kind: str) -> "type[AnomalyScore]":
    """The class of a kind of score. Imports torch. Raises ArtifactError if there is no such kind, or no class of it."""
    place = find_score_kind(kind).place
    if place is None:
        raise ArtifactError(f"a score of kind {kind!r} is no longer trained: its models have an exported program alone")
    return imported(place)


def score_names() -> tuple[str, ...]:
    """The names of the scores of the detector `vae`."""
    return tuple(dict.fromkeys(entry.name for entry in SCORES.values() if entry.network is None))


def detector_names() -> tuple[str, ...]:
    """The names of the detectors: the VAE, and those that are a score with a network of its own."""
    return VAE, *(kind for kind, entry in SCORES.items() if entry.network is not None)


def detector_of(kind: str) -> str:
    """The name of the detector that has a kind of score. Raises ArtifactError if there is no such kind."""
    return VAE if find_score_kind(kind).network is None else kind


def check_score(name: str) -> None:
    """Raise KilterError, which lists the names that there are, for a name that no score has."""
    if name not in score_names():
        raise KilterError(f"there is no score {name!r}: there are {', '.join(score_names())}")


def kind_of_score(name: str, modality: str) -> str:
    """The kind of score of a name that a modality is trained with. Raises KilterError if there is none."""
    if name not in detector_names():
        check_score(name)
    for kind, entry in SCORES.items():
        if entry.name == name and entry.modality in (None, modality):
            return kind
    raise KilterError(f"there is no score {name!r} for the modality {modality!r}")
