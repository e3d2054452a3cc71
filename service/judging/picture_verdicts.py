"""From judged pictures to the answer of the score route."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import msgspec

from kilter.service.detector import Detector, Region, Verdicts
from kilter.service.detector.pictures.regions import Grid, regions
from kilter.service.judging.verdicts import TAIL, Model, results

BOXES = msgspec.Meta(
    description="There where reasons are asked for: the regions that speak against the picture, strongest first, with "
    "boxes in pixels of the picture as it was sent, upright by its EXIF orientation."
)
NAMED = msgspec.Meta(description="There where several files are sent: the name of the file.")


class PictureResult(msgspec.Struct, frozen=True):
    """The verdict on one picture."""

    score: float
    p_value: float
    anomaly: bool
    reasons: Annotated[list[Region] | msgspec.UnsetType, BOXES] = msgspec.UNSET
    name: Annotated[str | msgspec.UnsetType, NAMED] = msgspec.UNSET
    tail_probability: Annotated[float | msgspec.UnsetType, TAIL] = msgspec.UNSET


class PictureAnswer(msgspec.Struct, frozen=True):
    """The verdicts on the pictures of a request, in their order."""

    model: Model
    threshold: float
    target_fpr: float
    results: list[PictureResult]


class Sent(msgspec.Struct, frozen=True):
    """What is known of the pictures of a request beside their pixels."""

    sizes: list[tuple[int, int]]
    """Width and height of each as it came, upright."""
    names: list[str] | None = None
    first: Any = None
    """The first of them, as it came."""


def picture_answer(detector: Detector, judged: Sequence[Verdicts], sent: Sent, limit: int) -> PictureAnswer:
    """The answer, with up to `limit` regions for each picture."""
    calibration = detector.calibration
    return PictureAnswer(
        Model(detector.name, detector.version),
        calibration.threshold,
        calibration.target_fpr,
        list(_results(detector, judged, sent, limit)),
    )


def _results(detector: Detector, judged: Sequence[Verdicts], sent: Sent, limit: int) -> Iterator[PictureResult]:
    place = 0
    for verdicts in judged:
        for row, result in enumerate(results(verdicts._replace(reasons=None), detector.calibration.target_fpr)):
            found: list[Region] | msgspec.UnsetType = msgspec.UNSET
            if verdicts.evidence is not None and detector.modality.grid is not None and limit:
                found = regions(verdicts.evidence[row], Grid(*detector.modality.grid), *sent.sizes[place], limit)
            name = msgspec.UNSET if sent.names is None else sent.names[place]
            yield PictureResult(result.score, result.p_value, result.anomaly, found, name, result.tail_probability)
            place += 1
