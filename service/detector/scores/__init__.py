"""The scores: a module each, with what it computes and how it is fitted, and an entry in `SCORES`.

Importing this package imports no torch; building a score does.
"""

from typing import TYPE_CHECKING, NamedTuple

from kilter.service.detector.errors import ArtifactError, KilterError
from kilter.service.detector.plugin import imported

if TYPE_CHECKING:
    from kilter.service.detector.scores.base import AnomalyScore

ROBUST = "robust standard units"
SURPRISE = "nats of surprise, a mean over kinds of evidence"


class ScoreKind(NamedTuple):
    """A kind of score, as far as it is known without torch."""

    place: "str | type[AnomalyScore] | None"
    """The class, or its place; None if it is no longer trained, so that models have its exported program alone."""
    name: str  # the name that users ask for
    unit: str
    modality: str | None = None  # name of the modality that it is for; None if it is for any
    exported: bool = False
    """Whether only its exported program can run: a part of it is known as ONNX alone."""


_HERE = __name__
SCORES = {
    "combined": ScoreKind(f"{_HERE}.combined:CombinedScore", "neighbours", SURPRISE, "table"),
    "picture-neighbours": ScoreKind(f"{_HERE}.pictures:PictureNeighbours", "neighbours", ROBUST, "image"),
    "backbone-neighbours": ScoreKind(f"{_HERE}.backbone:BackboneNeighbours", "neighbours", ROBUST, "image", True),
    "robust-core": ScoreKind(f"{_HERE}.core:RobustCore", "core", ROBUST, "table"),
    "elbo": ScoreKind(f"{_HERE}.elbo:Elbo", "elbo", "nats"),
    "reconstruction": ScoreKind(f"{_HERE}.elbo:Reconstruction", "reconstruction", "nats"),
    "neighbours": ScoreKind(None, "neighbours", ROBUST, "table", True),
    "core": ScoreKind(None, "core", ROBUST, "table", True),
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
    """The names that users may ask for."""
    return tuple(dict.fromkeys(entry.name for entry in SCORES.values()))


def check_score(name: str) -> None:
    """Raise KilterError, which lists the names that there are, for a name that no score has."""
    if name not in score_names():
        raise KilterError(f"there is no score {name!r}: there are {', '.join(score_names())}")


def kind_of_score(name: str, modality: str) -> str:
    """The kind of score of a name that a modality is trained with. Raises KilterError if there is none."""
    check_score(name)
    for kind, entry in SCORES.items():
        if entry.name == name and entry.modality in (None, modality):
            return kind
    raise KilterError(f"there is no score {name!r} for the modality {modality!r}")
