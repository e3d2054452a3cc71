"""The detector: records in, verdicts out. Every route into a verdict, calibration included, goes through here."""

from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from kilter.service.detector import artifact, inputs
from kilter.service.detector.calibration import Calibration
from kilter.service.detector.errors import ArtifactError, KilterError, Problem
from kilter.service.detector.groups import Groups, judge
from kilter.service.detector.networks import EXPORTED
from kilter.service.detector.rates import at_rate
from kilter.service.detector.reasons import Reason
from kilter.service.detector.reference import Reference, reference_of
from kilter.service.detector.regions import Region, grid_of, regions
from kilter.service.detector.runtime import OnnxProgram, Program, TorchProgram, pick_device, rows_per_call
from kilter.service.detector.schema import Schema
from kilter.service.detector.scorer import Scorer, Scores
from kilter.service.detector.store import resolve
from kilter.service.detector.thresholds import thresholds_of

Floats = npt.NDArray[np.float64]


class Verdicts(NamedTuple):
    """Verdicts on n records. A record with a problem has a score and p-value of NaN and is no anomaly."""

    score: Floats
    """Higher is stranger; in the unit of the manifest."""
    p_value: Floats
    """Conformal p-value; see `detector.calibration`."""
    anomaly: npt.NDArray[np.bool_]
    reasons: Sequence[Sequence[Reason | Region]] | None
    """Per record what makes it strange, strongest first; None if none were asked for. Of a picture, regions, in pixels
    of the size at which the model sees it."""
    problems: list[Problem]
    features: npt.NDArray[np.float32]
    """The encoded records, (n, features), NaN where a value is missing; of pictures, what is watched of them."""
    threshold: Floats | None = None
    """The threshold that each record was held against; None where all have the same."""
    tail_probability: Floats | None = None
    """An estimate of how many normal records score higher, NaN up to where the tail of the calibration scores begins
    and never a p-value; None for a model without one. See `detector.tail`."""
    evidence: Floats | None = None
    """Of pictures, where reasons were asked for: what speaks against each place, (n, rows * columns) of `grid`."""


class Detector:
    """A trained and calibrated model. It never changes; `load` makes one from an artifact."""

    def __init__(
        self,
        manifest: artifact.Manifest,
        program: Program,
        calibration: Calibration,
        probes: artifact.Probes,
        groups: Groups | None = None,
        reference: Reference | None = None,
    ) -> None:
        self.manifest = manifest
        self.scorer = Scorer(manifest.schema, program)
        self.calibration = calibration
        self.groups = groups
        self.probes = probes
        self.reference = reference or reference_of(manifest.schema, {})
        self.grid = grid_of(manifest.network) if manifest.schema.image is not None else None
        """The cells over a picture in which `Verdicts.evidence` is given; None for a table."""

    @property
    def name(self) -> str:
        return self.manifest.name

    @property
    def version(self) -> int:
        return self.manifest.version

    @property
    def schema(self) -> Schema:
        return self.manifest.schema

    @property
    def device(self) -> str:
        """Where it runs: `cpu` or `cuda:n`."""
        return self.scorer.program.device

    def table(self, data: Any) -> inputs.Table:
        """Read records (a list of dicts), a matrix (NumPy), or a frame (pandas, or any with an Arrow C stream)."""
        return self.scorer.table(data)

    def score(self, data: Any, *, reasons: int = 0, errors: Literal["raise", "mark"] = "raise") -> Verdicts:
        """Judge records, in whatever form `table` reads, with up to `reasons` reasons for each.

        Raises RecordsError, listing every problem, if any record does not fit the schema; with `errors="mark"` such
        records are marked instead, and the others judged.
        """
        scores = self.scorer.score(data, reasons=reasons, errors=errors)
        judged = judge(scores.score, scores.table, self.calibration, self.groups)
        return Verdicts(
            scores.score,
            judged.p_value,
            judged.anomaly,
            scores.reasons if scores.evidence is None else self._regions(scores, reasons),
            scores.table.problems,
            scores.features,
            judged.threshold,
            judged.tail_probability,
            scores.evidence,
        )

    def _regions(self, scores: Scores, limit: int) -> list[list[Region]]:
        column, grid, evidence = self.schema.image, self.grid, scores.evidence
        if column is None or grid is None or evidence is None:
            raise TypeError("regions are of pictures")
        wrong = {problem.row for problem in scores.table.problems}
        return [
            [] if row in wrong else regions(found, grid, column.width, column.height, limit)
            for row, found in enumerate(evidence)
        ]

    def elbo_terms(self, data: Any) -> tuple[Floats, Floats]:
        """Reconstruction and KL of each record, in nats; their sum is the negative ELBO. Raises RecordsError."""
        reconstruction, kl = self.scorer.outputs(data, ("reconstruction", "kl"))
        return reconstruction, kl

    def at_rate(self, target_fpr: float) -> "Detector":
        """This detector at another target false-positive rate: the same program, thresholds by the same scores.

        A group with too few records for it has the common threshold. Raises KilterError, which names the number of
        calibration records needed, if the rate cannot be supported.
        """
        rated = at_rate(self.manifest.calibration, self.calibration, self.groups, target_fpr)
        manifest = msgspec.structs.replace(self.manifest, calibration=rated.info)
        return Detector(manifest, self.scorer.program, rated.common, self.probes, rated.groups, self.reference)

    def replay(self) -> None:
        """Score the probes and compare. Raises ArtifactError that names the first that differs, and both values."""
        if self.grid is not None:
            places = self.scorer.outputs(self.probes.records[:1], ("terms",))[0].shape[1]
            if places != prod(self.grid):
                raise ArtifactError(
                    f"model {self.name} version {self.version}, {artifact.MANIFEST}: the grid is {list(self.grid)}, "
                    f"and the program gives evidence of {places} places"
                )
        got = self.score(self.probes.records)
        for i, (want, have) in enumerate(zip(self.probes.scores, got.score, strict=True)):
            if not abs(want - have) <= self.manifest.score.tolerance * max(1.0, abs(want)):
                raise ArtifactError(
                    f"model {self.name} version {self.version}, {artifact.PROBES}: probe {i} scores {have:.9g} on "
                    f"{self.device} and must score {want:.9g}"
                )
        if self.device == "cpu":
            for i, (flag, have) in enumerate(zip(self.probes.anomalies, got.anomaly, strict=True)):
                threshold = self.calibration.threshold if got.threshold is None else float(got.threshold[i])
                if flag != have and not self._borderline(self.probes.scores[i], threshold):
                    raise ArtifactError(
                        f"model {self.name} version {self.version}, {artifact.PROBES}: probe {i} is flagged "
                        f"{bool(have)} and must be flagged {flag}"
                    )

    def _borderline(self, score: float, threshold: float) -> bool:
        return abs(score - threshold) <= self.manifest.score.tolerance * max(1.0, abs(score))


def load(path: str | Path, device: str = "cpu") -> Detector:
    """Load a model's folder (the version that serves) or a version's, on `auto`, `cpu`, `cuda` or `cuda:n`.

    The artifact is read, audited, built, and its probes replayed before the detector is handed out. Raises
    ArtifactError if anything about it is wrong, and KilterError if the device is not there.
    """
    folder = resolve(Path(path))
    found = artifact.read(folder)
    place = _place(folder, found.manifest, device)
    rows = rows_per_call(found.manifest.schema, place)
    try:
        program: Program = (
            OnnxProgram(*found.programs, found.manifest.schema.width, rows)
            if place == "cpu"
            else TorchProgram(found.manifest.network, found.network_tensors, place, rows)
        )
        common, groups = thresholds_of(found)
        reference = reference_of(found.manifest.schema, found.tensors)
        detector = Detector(found.manifest, program, common, found.probes, groups, reference)
        detector.replay()
    except KilterError as error:
        raise ArtifactError(f"{folder}: {error}") from error
    return detector


def _place(folder: Path, manifest: artifact.Manifest, device: str) -> str:
    """The device that a model runs on. Raises KilterError if it is not there, or the model cannot run on it."""
    if manifest.network["kind"] not in EXPORTED:
        return pick_device(device)
    if device not in ("auto", "cpu"):
        raise KilterError(
            f"{folder}: a model with a pretrained network runs on a CPU only, and not on {device!r}: load it with the "
            "device cpu or auto"
        )
    return "cpu"
