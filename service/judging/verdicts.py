"""From verdicts to the answer of the score route, for records of every modality."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat
from typing import Annotated, Any

import msgspec

from kilter.service.detector import Detector, NearestNormal, Verdicts

REASONS = msgspec.Meta(
    description="There where reasons are asked for: what speaks against the record, strongest first. Of a record of "
    "fields, its fields; of a picture, regions, with boxes in pixels of the picture as it was sent, upright by its "
    "EXIF orientation.",
    extra_json_schema={
        "items": {"anyOf": [{"$ref": "#/components/schemas/Reason"}, {"$ref": "#/components/schemas/Region"}]}
    },
)
NAME = msgspec.Meta(description="There where several files are sent: the name of the file.")
TAIL = msgspec.Meta(
    description="There for a record whose score lies where the tail of the calibration scores begins or beyond, which "
    "one normal record in ten does: an estimate, by a fitted distribution, of how many normal records score higher. It "
    "tells those apart that share the lowest p-value, and is no p-value."
)
ID = msgspec.Meta(
    description="There where the request says ignore_unknown=true and the record has a field `id` of its own: that.",
    extra_json_schema={"type": ["string", "number"]},
)
NEAREST = msgspec.Meta(
    description="There where it is asked for, of an anomaly: the smallest change of the fewest fields that was found "
    "after which the model scores the record as normal, with the verdict that it has then."
)
GROUPED = msgspec.Meta(description="There if groups of records have thresholds of their own: that of this record.")


class Result(msgspec.Struct, frozen=True, gc=False):
    """The verdict on one record."""

    score: float
    p_value: float
    anomaly: bool
    reasons: Annotated[list[Any] | msgspec.UnsetType, REASONS] = msgspec.UNSET
    name: Annotated[str | msgspec.UnsetType, NAME] = msgspec.UNSET
    tail_probability: Annotated[float | msgspec.UnsetType, TAIL] = msgspec.UNSET
    threshold: Annotated[float | msgspec.UnsetType, GROUPED] = msgspec.UNSET
    target_fpr: Annotated[float | msgspec.UnsetType, GROUPED] = msgspec.UNSET
    id: Annotated[Any, ID] = msgspec.UNSET
    nearest_normal: Annotated[NearestNormal | msgspec.UnsetType, NEAREST] = msgspec.UNSET


class ModelName(msgspec.Struct, frozen=True):
    """Which model judged."""

    name: str
    version: int


class Answer(msgspec.Struct, frozen=True):
    """The verdicts on the records of a request, in their order."""

    model: ModelName
    threshold: float
    target_fpr: float
    results: list[Result]


class RecordFacts(msgspec.Struct):
    """What is known of the records of a request beside their values."""

    names: Sequence[str] | None = None
    ids: Sequence[Any] | None = None
    """Of each its own, UNSET without one; None or none at all where none are returned."""
    sizes: list[tuple[int, int]] | None = None
    """Width and height of each as it came, of records that are decoded."""
    first: Any = None
    """The first of them as it came, of records that are decoded."""


PLAIN = RecordFacts()


class AnswerWriter:
    """Writes the answers of one detector: all but the results is the same each time."""

    def __init__(self, detector: Detector) -> None:
        encoder = msgspec.json.Encoder()
        calibration = detector.calibration
        self._encode, self._lines = encoder.encode, encoder.encode_lines
        self._target_fpr = calibration.target_fpr
        self._modality = detector.modality
        empty = Answer(ModelName(detector.name, detector.version), calibration.threshold, calibration.target_fpr, [])
        self._head = self._encode(empty).removesuffix(b"[]}")

    def write(self, judged: Sequence[Verdicts], records: RecordFacts = PLAIN, limit: int = 0) -> bytes:
        """The `Answer` that consecutive batches of verdicts make, in JSON, with up to `limit` reasons for each."""
        return b"%b%b}" % (self._head, self._encode(self.results(judged, records, limit)))

    def lines(self, judged: Sequence[Verdicts], records: RecordFacts = PLAIN, limit: int = 0) -> bytes:
        """The results alone, each in a line of its own."""
        return self._lines(self.results(judged, records, limit))

    def results(self, judged: Sequence[Verdicts], records: RecordFacts = PLAIN, limit: int = 0) -> list[Result]:
        """The verdicts as the answer holds them."""
        listed: list[Result] = []
        for verdicts in judged:
            listed += self._results(verdicts, records, limit, len(listed))
        return listed

    def _results(self, verdicts: Verdicts, records: RecordFacts, limit: int, start: int) -> Iterator[Result]:
        unset: Iterable[Any] = repeat(msgspec.UNSET)
        stop = start + len(verdicts.score)
        plain = (verdicts.score.tolist(), verdicts.p_value.tolist(), verdicts.anomaly.tolist())
        sizes = None if records.sizes is None else records.sizes[start:stop]
        explained = verdicts.reasons is not None and limit
        reasons = self._modality.reasons(verdicts, range(stop - start), limit, sizes) if explained else unset
        tail, nearest = verdicts.tail_probability, verdicts.nearest_normal
        if (
            verdicts.threshold is None
            and tail is None
            and nearest is None
            and records.names is None
            and not records.ids
        ):
            return map(Result, *plain, reasons)
        names = unset if records.names is None else records.names[start:stop]
        tails = unset if tail is None else [msgspec.UNSET if x != x else x for x in tail.tolist()]
        ids = records.ids[start:stop] if records.ids else unset
        threshold, rate = unset, unset
        if verdicts.threshold is not None:
            threshold, rate = verdicts.threshold.tolist(), repeat(self._target_fpr)
        normals = unset if nearest is None else [msgspec.UNSET if one is None else one for one in nearest]
        return map(Result, *plain, reasons, names, tails, threshold, rate, ids, normals)
