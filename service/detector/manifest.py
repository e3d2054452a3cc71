"""The manifest: all about an artifact that a person, or a program that does not run it, may want to read."""

from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from kilter.service.detector.calibration import Tail
from kilter.service.detector.findings import Training
from kilter.service.detector.schema import Schema

HIGHEST_RATE = 0.5
UPPER = 0.999  # the level of the upper quantile of the realised rate
Way = Literal["default", "rate", "alerts-per-day", "f-beta", "cost", "recall-at-precision"]


class Estimate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A figure on given rows with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


class ChoiceEvidence(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The labelled rows by which a threshold was chosen, and what it reaches on them."""

    normal: int
    anomalies: int
    anomaly_rate: float
    """The share of anomalies for which the choice is best."""
    held_out: bool
    """Whether the normal rows are others than those of the calibration."""
    figure: Estimate
    """F-beta, expected cost per record, or recall."""
    level: Estimate
    edge: Literal["", "lowest", "highest"] = ""
    """Whether the choice is the lowest or highest possible."""


class Choice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the target false-positive rate came about."""

    by: Way
    inputs: dict[str, float] = {}
    evidence: ChoiceEvidence | None = None


class GroupPromise(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The threshold of one group of records; fields as in `Promise`."""

    value: str
    size: int
    rank: int
    threshold: float
    expected_fpr: float
    upper_fpr: float
    tail: Tail | None = None


class Grouping(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The groups that have a threshold of their own; all other records have the common one."""

    column: str
    groups: tuple[GroupPromise, ...]


class Promise(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The threshold, and what it promises."""

    size: int
    target_fpr: float
    rank: int
    threshold: float
    expected_fpr: float
    upper_fpr: float
    """99.9 % quantile of the realised false-positive rate over calibration sets: Beta(k, n + 1 - k)."""
    split: str
    """How the calibration records were set apart: `random` or `time`."""
    split_by: str | None = None
    """The column, such as customers or machines, of which the rows of a value were set apart together, and each
    calibration record has another value; None where single rows were."""
    chosen: Choice = Choice("rate")
    left_out: bool = False
    """Whether the memory of the score holds the calibration records, each scored with all of it but itself."""
    tail: Tail | None = None
    by_group: Grouping | None = None

    @property
    def highest_upper_fpr(self) -> float:
        """The largest `upper_fpr` of any group or of all: what no mix of groups should exceed."""
        groups = self.by_group.groups if self.by_group else ()
        return max([self.upper_fpr, *(group.upper_fpr for group in groups)])


class NetworkEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The network: `kind` is its name in `networks.NETWORKS`, and `shape` what only the network itself reads."""

    kind: str
    members: int
    latent: int
    shape: Any
    code: int = 0
    """Numbers of a record's code; 0 of a model that has no programs `encode` and `decode`."""
    noise: int = 0
    """Draws of N(0, 1) by which the values of a record are drawn; 0 if they cannot be."""
    condition: str | None = None
    """The column given whose value all else is judged, if there is one."""
    standard_prior: bool = True
    """Whether codes may be drawn from N(0, I)."""


class MemoryEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The training records that are part of a score: the artifact is then to be treated like the training data."""

    rows: int
    of: str


class BackboneEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The pretrained network that the user gave, by the name of its file."""

    file: str
    sha256: str


class ScoreEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The score: `kind` is its name in `scores.SCORES`, `name` that for users, `shape` what only the score reads."""

    kind: str
    name: str
    unit: str
    digits: int
    """Decimal places to which scores are rounded before they meet the calibration scores."""
    tolerance: float
    """Two devices may disagree on a score by this times max(1, |score|)."""
    shape: Any
    grid: tuple[int, int] | None = None
    """Rows and columns of the places of a picture, where the score is made of those."""
    memory: MemoryEntry | None = None
    backbone: BackboneEntry | None = None


class GeneratorEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What makes synthetic records: `kind` is known to `detector.generation`, and `shape` is what only it reads.

    It holds numbers of the fitting rows: the artifact is then to be treated like the training data.
    """

    kind: str
    shape: Any


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An artifact's manifest.json."""

    format: int
    name: str
    version: int
    created: str
    schema: Schema
    network: NetworkEntry
    score: ScoreEntry
    calibration: Promise
    training: Training
    libraries: dict[str, str]
    programs: dict[str, str]
    """The files of the exported programs, by the names that `detector.runtime` knows."""
    tensors: dict[str, tuple[int, ...]]
    """Shape of each tensor in tensors.safetensors."""
    generator: GeneratorEntry | None = None


class Probes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Synthetic records with the verdicts that they must get; replayed at every load."""

    records: list[dict[str, Any]]
    scores: list[float]
    p_values: list[float]
    anomalies: list[bool]


def counted(count: int, one: str, many: str | None = None) -> str:
    """A number of things with the word for them: 1 record, 2,000 records."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def choice_in_words(choice: Choice, size: int) -> str:
    """How the target false-positive rate came about, in sentences; `size` is that of the calibration set."""
    inputs = choice.inputs
    match choice.by:
        case "default":
            return "The target false-positive rate is the default: of 1, 2, 5 and 10 % the lowest supported."
        case "rate":
            return "The target false-positive rate was asked for."
        case "alerts-per-day":
            return (
                f"The target false-positive rate was chosen for {inputs['alerts_per_day']:g} alerts per day at "
                f"{inputs['records_per_day']:g} records per day, all of them false ones: true ones come on top."
            )
        case "f-beta":
            what, figure = f"for the best F-beta, beta {inputs['f_beta']:g}", "F-beta"
        case "cost":
            costs = f"{inputs['cost_false_alarm']:g} for a false alarm and {inputs['cost_miss']:g} for a missed anomaly"
            what, figure = f"for the least expected cost, with {costs}", "expected cost per record"
        case "recall-at-precision":
            precision = f"{inputs['recall_at_precision']:g}"
            what, figure = f"for the highest recall at a precision of at least {precision}", "recall"
    if choice.evidence is None:
        return f"The target false-positive rate was chosen {what}."
    return " ".join(_evidence_in_words(choice.evidence, what, figure, size))


def _evidence_in_words(evidence: ChoiceEvidence, what: str, figure: str, size: int) -> Iterator[str]:
    yield (
        f"The target false-positive rate was chosen {what}, on {evidence.normal:,} normal rows and "
        f"{evidence.anomalies:,} labelled anomalies, weighted so that {100 * evidence.anomaly_rate:.3g} % are "
        "anomalies."
    )
    yield (
        f"There the {figure} is {_interval(evidence.figure)}, and the rate came out as {_interval(evidence.level)} "
        "(95 % bootstrap intervals)."
    )
    if evidence.edge == "lowest":
        yield f"It is the lowest rate that {size:,} calibration rows can express; more might allow a better choice."
    if evidence.edge == "highest":
        yield "It is the highest rate that is allowed; a higher one would have served better."
    if not evidence.held_out:
        yield "The normal rows were those of the calibration, so that the promise holds only nearly."


def _interval(estimate: Estimate) -> str:
    return f"{estimate.value:.3g} ({estimate.low:.3g} to {estimate.high:.3g})"
