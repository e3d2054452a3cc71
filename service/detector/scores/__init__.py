"""The scores: a module each, with what it computes and how it is fitted, and an entry in `SCORES`.

Importing this package imports no torch; building a score does.
"""

from typing import TYPE_CHECKING, NamedTuple

from kilter.service.detector.errors import ArtifactError, KilterError

if TYPE_CHECKING:
    from kilter.service.detector.scores.base import Score

ROBUST = "robust standard units"


class ScoreKind(NamedTuple):
    """A kind of score, as far as it is known without torch."""

    place: "str | type[Score]"
    """The class, or its place."""
    name: str
    """What users ask for."""
    unit: str
    modality: str | None = None
    """Name of the modality that it is for; None if it is for any."""
    exported: bool = False
    """Whether it runs as it was exported alone, since a part of it, given by the user, is known as ONNX only."""


SCORES = {
    "neighbours": ScoreKind("kilter.service.detector.scores.neighbours:Neighbours", "neighbours", ROBUST, "table"),
    "picture-neighbours": ScoreKind(
        "kilter.service.detector.scores.pictures:PictureNeighbours", "neighbours", ROBUST, "image"
    ),
    "backbone-neighbours": ScoreKind(
        "kilter.service.detector.scores.backbone:BackboneNeighbours", "neighbours", ROBUST, "image", exported=True
    ),
    "elbo": ScoreKind("kilter.service.detector.scores.elbo:Elbo", "elbo", "nats"),
    "reconstruction": ScoreKind("kilter.service.detector.scores.elbo:Reconstruction", "reconstruction", "nats"),
}
"""Kind, as a manifest names it, to what is known of it. Of several with one name the first that fits is trained."""


def score_kind(kind: str) -> ScoreKind:
    """What is known of a kind of score. Raises ArtifactError if there is no such kind."""
    if kind not in SCORES:
        raise ArtifactError(f"this version knows no score of kind {kind!r}")
    return SCORES[kind]


def score_names() -> tuple[str, ...]:
    """What users may ask for."""
    return tuple(dict.fromkeys(entry.name for entry in SCORES.values()))


def check_score(name: str) -> None:
    """Raise KilterError, which lists those that there are, for a name that no score has."""
    if name not in score_names():
        raise KilterError(f"there is no score {name!r}: there are {', '.join(score_names())}")


def kind_of_score(name: str, modality: str) -> str:
    """The kind of score of a name that a modality is trained with. Raises KilterError if there is none."""
    check_score(name)
    for kind, entry in SCORES.items():
        if entry.name == name and entry.modality in (None, modality):
            return kind
    raise KilterError(f"there is no score {name!r} for the modality {modality!r}")
