"""The detector: records in, verdicts out. Every route into a verdict, calibration included, goes through here."""

import warnings
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from kilter.service.detector import artifact
from kilter.service.detector.arrays import Floats, Matrix
from kilter.service.detector.calibration import DECIMALS, Calibration, rounded
from kilter.service.detector.errors import ArtifactError, KilterError, RecordsError, SeenRowsWarning
from kilter.service.detector.exemplars import Exemplars, exemplars_of
from kilter.service.detector.generation import Generator, Prior, generate, open_generator
from kilter.service.detector.inputs import Table
from kilter.service.detector.latent import LatentSpace, Slope, between, generator_of
from kilter.service.detector.manifest import Manifest, Probes
from kilter.service.detector.modalities import modality_of
from kilter.service.detector.modalities.base import Modality, Scores
from kilter.service.detector.nearest_normal import NearestNormal, NormalFinder
from kilter.service.detector.reference import Reference, reference_of
from kilter.service.detector.runtime import OnnxProgram, Program, TorchProgram, pick_device
from kilter.service.detector.schema import Schema
from kilter.service.detector.scores import find_score_kind
from kilter.service.detector.similar import Likeness, SimilaritySearch, open_memory
from kilter.service.detector.sketch import Sketch, sketch_of
from kilter.service.detector.store import resolve
from kilter.service.detector.thresholds import Groups, Thresholds, at_rate, thresholds_of
from kilter.service.detector.verdicts import Verdicts

SEEN = "most of these records were in the training, so they score lower, and are flagged less often, than new ones"


class Scorer:
    """A modality and the program that scores it; a `Detector` is one of these with a calibration."""

    def __init__(self, modality: Modality, program: Program) -> None:
        self.modality = modality
        self.program = program

    def score(self, data: Any, *, reasons: int = 0, errors: Literal["raise", "mark"] = "raise") -> Scores:
        """The scores of records in any form of `Modality.read`, with up to `reasons` reasons for each.

        Raises RecordsError if any record does not fit the schema; with `errors="mark"` its score is NaN instead.
        """
        table = self.modality.read(data)
        if table.problems and (errors == "raise" or any(problem.row is None for problem in table.problems)):
            raise RecordsError(table.problems)
        scores = self.modality.score(self.program, table, reasons)
        score = rounded(scores.score, DECIMALS)
        if table.problems:
            score[[problem.row for problem in table.problems if problem.row is not None]] = np.nan
        return scores._replace(score=score)

    def figures(self, table: Table) -> Matrix:
        """The watched figures of the records of a table, (n, ...)."""
        return np.concatenate([self.modality.figures(x) for x in self.modality.encode(table)])

    def outputs(self, data: Any, names: Sequence[str]) -> list[Floats]:
        """Outputs of the program (`detector.runtime`) by name. Raises RecordsError."""
        table = self.modality.read(data)
        if table.problems:
            raise RecordsError(table.problems)
        parts = [self.program.run(x, names) for x in self.modality.encode(table)]
        return [np.concatenate(part) for part in zip(*parts, strict=True)]


class Judge:
    """A scorer with the calibrations that say what its scores mean: all that a verdict needs."""

    def __init__(self, scorer: Scorer, thresholds: Thresholds) -> None:
        self.scorer = scorer
        self.thresholds = thresholds
        self.calibration, self.groups = thresholds

    @property
    def modality(self) -> Modality:
        return self.scorer.modality

    @property
    def device(self) -> str:
        """Where it runs: `cpu` or `cuda:n`."""
        return self.scorer.program.device

    def table(self, data: Any) -> Table:
        return self.modality.read(data)

    def score(self, data: Any, *, reasons: int = 0, errors: Literal["raise", "mark"] = "raise") -> Verdicts:
        """Judge records, in whatever form `Modality.read` reads, with up to `reasons` reasons for each.

        Raises RecordsError, listing every problem, if any record does not fit the schema; with `errors="mark"` such
        records are marked instead, and the others judged.
        """
        if errors not in ("raise", "mark"):
            raise ValueError(f"errors is 'raise' or 'mark', not {errors!r}")
        scores = self.scorer.score(data, reasons=reasons, errors=errors)
        p_value, anomaly, tail, threshold = self.thresholds.judge(scores.score, scores.table)
        problems = scores.table.problems
        return Verdicts(
            scores.score, p_value, anomaly, scores.reasons, problems, scores.features, threshold, tail, scores.evidence
        )

    def elbo_terms(self, data: Any) -> tuple[Floats, Floats]:
        """Reconstruction and KL of each record, in nats; their sum is the negative ELBO. Raises RecordsError."""
        reconstruction, kl = self.scorer.outputs(data, ("reconstruction", "kl"))
        return reconstruction, kl


class Detector(Judge):
    """A trained and calibrated model. It never changes; `load` makes one from an artifact."""

    def __init__(
        self,
        manifest: Manifest,
        program: Program,
        calibration: Calibration,
        probes: Probes,
        groups: Groups | None = None,
        reference: Reference | None = None,
        sketch: Sketch | None = None,
        exemplars: Exemplars | None = None,
    ) -> None:
        scorer = Scorer(modality_of(manifest.schema, manifest.score.grid), program)
        super().__init__(scorer, Thresholds(calibration, groups))
        self.manifest = manifest
        self.probes = probes
        self.reference = reference or reference_of(self.modality, {})
        self.latent = LatentSpace(self.modality, program, manifest.network, f"the model {manifest.name}")
        self.exemplars = exemplars
        """The rows that the score remembers; None if it remembers none, or no values of theirs."""
        tolerance = manifest.score.tolerance
        self.normals = NormalFinder(self.modality, program, self.thresholds, tolerance, manifest.name, exemplars)
        self.similarity = SimilaritySearch(self.modality, program, self.latent, manifest)
        self.generator: Generator | None = None
        """What makes synthetic records; None for a model that was trained without."""
        self.sketch = sketch
        """What the rows of the training are known again by; None for a model of before there was one."""

    def __repr__(self) -> str:
        return f"<Detector {self.name}, version {self.version}: flags scores above {self.calibration.threshold:g}>"

    @property
    def name(self) -> str:
        return self.manifest.name

    @property
    def version(self) -> int:
        return self.manifest.version

    @property
    def schema(self) -> Schema:
        return self.manifest.schema

    def score(
        self,
        data: Any,
        *,
        reasons: int = 0,
        errors: Literal["raise", "mark"] = "raise",
        nearest_normal: bool = False,
        keep: Collection[str] = (),
    ) -> Verdicts:
        """As `Judge.score`; warns if most of the records were in the training, unless they are a `Table`.

        With `nearest_normal`, of each anomaly also that, in which the fields named in `keep` stay as they are. Raises
        KilterError if the model has no such fields.
        """
        if nearest_normal:
            table, kept = self.modality.read(data), self.normals.kept(keep)
            verdicts = super().score(table, reasons=reasons, errors=errors)
            verdicts = verdicts._replace(nearest_normal=self.normals.find_all(table, verdicts.anomaly, kept))
        else:
            verdicts = super().score(data, reasons=reasons, errors=errors)
        if not isinstance(data, Table) and self.was_trained_on(verdicts.features):
            warnings.warn(SEEN, SeenRowsWarning, stacklevel=2)
        return verdicts

    def nearest_normal(self, record: Any, keep: Collection[str] = ()) -> NearestNormal:
        """The fewest and smallest changes after which a record, in a form that `score` takes, is scored as normal.

        Fields named in `keep` are not changed, nor is the one that groups records. Raises RecordsError, and KilterError
        for more than one record, a field that is not there, and a model of pictures.
        """
        kept, table = self.normals.kept(keep), self._readable(record)
        if table.rows != 1:
            raise KilterError(f"the nearest normal is that of one record, and these are {table.rows:,}")
        return self.normals.find(table, kept)

    def encode(self, data: Any) -> Floats:
        """The codes of records in any form that `score` takes: (n, numbers). Raises RecordsError.

        Of a table they are the posterior means of all members of the network, side by side; of a picture those of the
        one network, its brightness and its contrast. Raises KilterError for a model from before it could be encoded.
        """
        return self.latent.encode(self._readable(data))

    def decode(self, codes: Any, *, seed: int | None = None) -> Any:
        """The records of codes, (n, numbers) or one of them, as `score` takes them: dicts, or pictures as an array.

        Their values are the expected or likeliest ones; with a seed they are drawn from the likelihood, missing ones
        included. Raises KilterError for what is no code of the model.
        """
        return self.modality.given(self.latent.decode(self.latent.read(codes), generator_of(seed)))

    def reconstruct(self, data: Any, *, seed: int | None = None) -> Any:
        """Records in any form that `score` takes, as the network sees them: `decode` of `encode`.

        Raises RecordsError.
        """
        return self.modality.given(self.latent.reconstruct(self._readable(data), generator_of(seed)))

    def interpolate(self, first: Any, last: Any, steps: int = 8, *, seed: int | None = None) -> Any:
        """So many records on the way from one record to another, as `decode` gives them, both ends included.

        The way is the straight line between their codes. Raises RecordsError, and KilterError where either is not one
        record or there are fewer than two steps.
        """
        tables = [self._readable(data) for data in (first, last)]
        if any(table.rows != 1 for table in tables) or steps < 2:
            raise KilterError("the way is from one record to another, in two steps or more")
        start, end = (self.latent.encode(table)[0] for table in tables)
        return self.modality.given(self.latent.decode(between(start, end, steps), generator_of(seed)))

    def direction(self, source: Any, target: Any = None, *, along: Any = None) -> Floats:
        """A direction in the latent space, (numbers,). Raises RecordsError, and KilterError where there is none.

        From some records to others, the `target`, it is the difference of their mean codes. Or it leads along a value
        that each record has: with numbers to a standard deviation more of them, with flags from False to True. NaN is a
        value that is not known.
        """
        codes = self.encode(source)
        if (target is None) == (along is None):
            raise KilterError("a direction leads to other records or along values: give one of the two")
        if along is None:
            change: Floats = self.encode(target).mean(axis=0) - codes.mean(axis=0)
            return change
        stated = np.asarray(along)
        values = stated.astype(np.float64)
        if values.shape != (len(codes),):
            raise KilterError(f"along has one value for each of the {len(codes):,} records")
        slope, known = Slope(self.latent.size), ~np.isnan(values)
        slope.add(codes[known], values[known])
        return slope.direction(grouped=stated.dtype == np.bool_)

    def edit(
        self, data: Any, direction: Any, strength: float = 1.0, *, steps: int | None = None, seed: int | None = None
    ) -> Any:
        """Records that are moved along a direction, (numbers,), as `decode` gives them. Raises RecordsError.

        With `steps` it is one record in so many steps on its way, the first of them not moved.
        """
        [way] = self.latent.read(direction)
        table, rng = self._readable(data), generator_of(seed)
        if steps is None:
            return self.modality.given(self.latent.reconstruct(table, rng, strength * way))
        if table.rows != 1 or steps < 2:
            raise KilterError("one record is shown on its way, in two steps or more")
        return self.modality.given(self.latent.walk(table, strength * way, steps, rng))

    def generate(
        self,
        count: int,
        *,
        near: Any = None,
        where: Mapping[str, Any] | None = None,
        prior: Prior = "learned",
        seed: int | None = None,
    ) -> Any:
        """So many synthetic records, as `decode` gives them; see `generation`.

        `near` are records in any form that `score` takes: each synthetic one is made around one of them, drawn at
        random. `where` has the cells that all are to have, by columns. Without a seed they are others each time. Raises
        KilterError, and RecordsError.
        """
        around, rng = None if near is None else self._readable(near), np.random.default_rng(seed)
        made = generate(self.latent, self.generator, count, rng, near=around, where=where, prior=prior)
        return self.modality.given(made)

    def similar(self, data: Any, k: int = 5, *, among: Any = None) -> list[list[Likeness]]:
        """For each record the `k` known ones that are nearest to it, nearest first; see `detector.similar`.

        Both come in any form that `score` takes. Known are the rows that the score remembers or, if they are given, the
        records `among` which to look. Raises RecordsError, and KilterError for a model that remembers none.
        """
        known = None if among is None else self.similarity.known(self._readable(among))
        return self.similarity.find(self._readable(data), k, known)

    def _readable(self, data: Any) -> Table:
        table = self.modality.read(data)
        if table.problems:
            raise RecordsError(table.problems)
        return table

    def was_trained_on(self, figures: Matrix) -> bool:
        """Whether most records were in the training, by their watched figures, (n, ...); False where that is not sure.

        Ten records or more are needed to be sure.
        """
        return self.sketch is not None and self.sketch.holds_most(self.sketch.look_up(figures))

    def at_rate(self, target_fpr: float) -> "Detector":
        """This detector at another target false-positive rate: the same program, thresholds by the same scores.

        A group with too few records for it has the common threshold. Raises KilterError, which names the number of
        calibration records needed, if the rate cannot be supported.
        """
        (common, groups), promise = at_rate(self.manifest.calibration, self.thresholds, target_fpr)
        manifest = msgspec.structs.replace(self.manifest, calibration=promise)
        parts = self.probes, groups, self.reference, self.sketch, self.exemplars
        other = Detector(manifest, self.scorer.program, common, *parts)
        other.generator, other.similarity = self.generator, self.similarity
        return other

    def replay(self) -> None:
        """Score the probes and compare. Raises ArtifactError that names the first that differs, and both values."""
        place = f"model {self.name} version {self.version}"
        if "detail" in self.manifest.programs:
            first = next(self.modality.encode(self.modality.read(self.probes.records[:1])))
            try:
                self.modality.check(self.scorer.program, first)
            except ArtifactError as error:
                raise ArtifactError(f"{place}, {artifact.MANIFEST}: {error}") from None
        if self.latent.size:
            try:
                probe = self.modality.read(self.probes.records[:1])
                self.latent.audit(probe)
                self.similarity.audit(probe)
            except KilterError as error:
                raise ArtifactError(f"{place}, {artifact.MANIFEST}: {error}") from None
        got = self.score(self.probes.records)
        thresholds = np.full(len(got.score), self.calibration.threshold) if got.threshold is None else got.threshold
        for i, (want, have) in enumerate(zip(self.probes.scores, got.score, strict=True)):
            flag, tolerance = self.probes.anomalies[i], self.manifest.score.tolerance * max(1.0, abs(want))
            if not abs(want - have) <= tolerance:
                raise ArtifactError(
                    f"{place}, {artifact.PROBES}: probe {i} scores {have:.9g} on "
                    f"{self.device} and must score {want:.9g}"
                )
            borderline = abs(want - thresholds[i]) <= tolerance
            if self.device == "cpu" and flag != got.anomaly[i] and not borderline:
                raise ArtifactError(
                    f"{place}, {artifact.PROBES}: probe {i} is flagged {not flag} and must be flagged {flag}"
                )


def load(path: str | Path, device: str = "cpu") -> Detector:
    """Load a model's folder (the version that serves) or a version's, on `auto`, `cpu`, `cuda` or `cuda:n`.

    The artifact is read, audited, built, and its probes replayed before the detector is handed out. Raises
    ArtifactError if anything about it is wrong, and KilterError if the device is not there.
    """
    folder = resolve(Path(path))
    content = artifact.read_artifact(folder)
    manifest = content.manifest
    place = pick_device(device)
    if find_score_kind(manifest.score.kind).exported:
        if place != "cpu" and device != "auto":
            raise KilterError(
                f"{folder}: a model of exported programs alone runs on a CPU only, and not on {device!r}: load it "
                "with the device cpu or auto"
            )
        place = "cpu"
    try:
        modality = modality_of(manifest.schema, manifest.score.grid)
        rows = modality.rows_per_call(place)
        program: Program = (
            OnnxProgram(content.programs, manifest.schema.width, rows)
            if place == "cpu"
            else TorchProgram(manifest.network, manifest.score, content.state, place, rows)
        )
        common, groups = thresholds_of(content)
        reference = reference_of(modality, content.tensors)
        sketch, exemplars = sketch_of(content.tensors), exemplars_of(manifest.schema.features(), content.state)
        detector = Detector(manifest, program, common, content.probes, groups, reference, sketch, exemplars)
        detector.similarity.memory = open_memory(modality, manifest, content.tensors)
        detector.generator = open_generator(manifest, detector.latent, content.tensors, content.programs)
        detector.replay()
    except KilterError as error:
        raise ArtifactError(f"{folder}: {error}") from error
    return detector
