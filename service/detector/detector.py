"""The detector: records in, verdicts out. Every route into a verdict, calibration included, goes through here."""

import warnings
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec
import numpy as np

from kilter.service.detector import artifact
from kilter.service.detector.arrays import Floats, Mask, Matrix
from kilter.service.detector.calibration import DECIMALS, Calibration, rounded
from kilter.service.detector.errors import ArtifactError, KilterError, Problem, RecordsError, SeenRowsWarning
from kilter.service.detector.exemplars import Exemplars, exemplars_of
from kilter.service.detector.generation import Generator, Prior, generate, open_generator
from kilter.service.detector.inputs import Table
from kilter.service.detector.latent import LatentSpace, between, generator_of
from kilter.service.detector.manifest import Manifest, Probes
from kilter.service.detector.modalities import modality_of
from kilter.service.detector.modalities.base import Modality, Scores
from kilter.service.detector.nearest_normal import NearestNormal, NormalFinder
from kilter.service.detector.reference import Reference, reference_of
from kilter.service.detector.runtime import OnnxProgram, Program, TorchProgram, pick_device
from kilter.service.detector.schema import Schema
from kilter.service.detector.scores import find_score_kind
from kilter.service.detector.sketch import Sketch, sketch_of
from kilter.service.detector.store import resolve
from kilter.service.detector.thresholds import Groups, Thresholds, at_rate, thresholds_of

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

    from kilter.service.detector.modalities.pictures import Region
    from kilter.service.detector.modalities.tables import Reason


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


class Verdicts(NamedTuple):
    """Verdicts on n records. A record with a problem has a score and p-value of NaN and is no anomaly."""

    score: Floats
    """Higher is stranger; in the unit of the manifest."""
    p_value: Floats
    """Conformal p-value; see `detector.calibration`."""
    anomaly: Mask
    reasons: "Sequence[Sequence[Reason | Region]] | None"
    """Per record, strongest first, of a picture in pixels of the model's size; None if none were asked for."""
    problems: list[Problem]
    features: Matrix
    """The watched figures of the records, (n, ...): `Modality.figures`."""
    threshold: Floats | None = None
    """The threshold that each record was held against; None where all have the same."""
    tail_probability: Floats | None = None
    """`Tail.probabilities`, which are no p-values; None for a model without a tail."""
    evidence: Floats | None = None
    """Of pictures, where reasons were asked for: evidence against each place, (n, rows * columns) of `grid`."""
    nearest_normal: Sequence[NearestNormal | None] | None = None
    """Of each anomaly, None for any other record; None if none were asked for."""

    def to_polars(self) -> "pl.DataFrame":
        """A row per record: score, p_value, anomaly, and threshold, tail_probability, reasons, nearest_normal if any.

        The latter two are JSON. The last column is error; a record with a problem has null in all others.
        """
        import polars as pl

        errors: dict[int | None, str] = {}
        for row, field, message in self.problems:
            before = f"{errors[row]}; " if row in errors else ""
            errors[row] = f"{before}field {field!r}: {message}" if field is not None else before + message
        columns: dict[str, Any] = {"score": self.score, "p_value": self.p_value, "anomaly": self.anomaly}
        columns |= {"threshold": self.threshold, "tail_probability": self.tail_probability}
        if self.reasons is not None:
            columns["reasons"] = [msgspec.json.encode(reasons).decode() for reasons in self.reasons]
        if self.nearest_normal is not None:
            columns["nearest_normal"] = [one and msgspec.json.encode(one).decode() for one in self.nearest_normal]
        frame = pl.DataFrame({name: values for name, values in columns.items() if values is not None}, nan_to_null=True)
        error = pl.Series([errors.get(row) for row in range(len(self.score))], dtype=pl.String)
        return frame.select(pl.when(error.is_null()).then(pl.all())).with_columns(error=error)

    def to_pandas(self, index: Any = None) -> "pd.DataFrame":
        """The same as a frame of pandas, with the index of the records' own frame if it is given."""
        import pandas as pd

        return pd.DataFrame(self.to_polars().to_dict(as_series=False), index=index)


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

    def direction(self, source: Any, target: Any) -> Floats:
        """The direction from some records to others, (numbers,): the difference of their mean codes. RecordsError."""
        change: Floats = self.encode(target).mean(axis=0) - self.encode(source).mean(axis=0)
        return change

    def edit(self, data: Any, direction: Any, strength: float = 1.0, *, seed: int | None = None) -> Any:
        """Records that are moved along a direction, (numbers,), as `decode` gives them. Raises RecordsError."""
        [way] = self.latent.read(direction)
        table = self._readable(data)
        return self.modality.given(self.latent.reconstruct(table, generator_of(seed), strength * way))

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
        other.generator = self.generator
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
                self.latent.audit(self.modality.read(self.probes.records[:1]))
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
        detector.generator = open_generator(manifest, detector.latent, content.tensors, content.programs)
        detector.replay()
    except KilterError as error:
        raise ArtifactError(f"{folder}: {error}") from error
    return detector
