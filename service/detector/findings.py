"""The part of a manifest on training, which decides no verdict: a model's origin, its fit, and how good it is."""

from typing import Any, Literal

import msgspec

Basis = Literal["labels", "swapped fields", "pasted parts"]
"""What counted as an anomaly where detectors were compared: labelled rows, or some made of normal records."""


class SourceFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A training file, or a folder of pictures: their bytes, and the SHA-256 of their names and SHA-256 sums."""

    name: str
    bytes: int
    sha256: str
    pictures: int | None = None


class PartSizes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Normal rows by their use."""

    fit: int
    calibration: int
    held_out: int


class Epoch(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The fit at one evaluation; every figure in nats per record."""

    step: int
    loss: float
    """The optimiser's objective (masked records, KL weighted by the warm-up), mean since the last evaluation."""
    reconstruction: float
    kl: float
    held_out_elbo: float
    """Mean ELBO of whole records that the member never saw, averaged over members; of a model without a prior it is
    minus the reconstruction."""
    held_out_kl: float | None = None
    """Of the same records; None in models of before."""

    def objective(self, beta: float) -> float:
        """What decides when to stop: the held-out ELBO with the KL weighed by `beta`."""
        return self.held_out_elbo - (beta - 1) * (self.held_out_kl or 0.0)


class Figure(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A figure with its 95 % interval; None where it is not known."""

    value: float | None
    low: float | None = None
    high: float | None = None


class Counts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Verdicts against labels: flagged anomalies, flagged normals, passed normals, passed anomalies."""

    tp: int
    fp: int
    tn: int
    fn: int


class LabelledFigures(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The figures that need labels, for the share of anomalies that the whole file has.

    The interval of precision is exact (Clopper and Pearson) and holds, like those of F1 and average precision, what a
    new file's share of anomalies may differ by; the others are exact or of a bootstrap.
    """

    counts: Counts
    """Of the rows that were judged."""
    roc_auc: Figure
    average_precision: Figure
    precision: Figure
    recall: Figure
    f1: Figure
    best_f1: float | None
    """The F1 that the best threshold, chosen with these labels in hand, would have reached."""
    weight: float = 1.0
    """Of how many normal rows of the file each one that was judged stands for; anomalies were all judged."""

    @property
    def anomaly_rate(self) -> float | None:
        """The share of anomalies for which the figures hold; None without rows."""
        c = self.counts
        anomalies, normal = c.tp + c.fn, self.weight * (c.fp + c.tn)
        return anomalies / (anomalies + normal) if anomalies + normal else None


class LikelihoodBound(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Lower bounds on log p(x) by draws from the posterior: means over normal rows, in nats per record."""

    samples: int
    """Draws of each member of the network for each row."""
    rows: int
    elbo: Figure
    reconstruction: Figure
    kl: Figure
    bound: Figure
    """Importance-weighted; with more draws it grows towards log p(x), and it is never below `elbo`."""

    def figures(self) -> dict[str, Figure]:
        """The figures by name."""
        return {
            "ELBO by draws, nats": self.elbo,
            "reconstruction by draws, nats": self.reconstruction,
            "KL by draws, nats": self.kl,
            f"bound on log p(x) by {self.samples:,} draws, nats": self.bound,
        }


class Evaluation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How good a model is on the rows of a table; ELBO and its parts are means over normal rows, in nats per record."""

    rows: int
    problems: int
    """Rows that could not be read, and count in no figure."""
    normal: int
    flagged: int
    target_fpr: float
    promised_fpr: float
    """k / (n + 1): the mean realised rate over calibration sets."""
    false_positive_rate: Figure
    expected_flags: tuple[int, int]
    """Between these numbers of normal rows are flagged in 95 % of all cases: a beta-binomial interval."""
    within_promise: bool | None
    """Whether `flagged` is inside `expected_flags`; None without normal rows that are new to the detector."""
    elbo: Figure
    reconstruction: Figure
    kl: Figure
    labelled: LabelledFigures | None
    notes: tuple[str, ...]
    """Sentences on figures that are missing, or better than those on new rows will be."""
    folds: int | None = None
    """In how many folds the calibration rows were judged, each by the threshold of the others, where none were held
    out; None where the normal rows are not those of the calibration."""
    evidence: LikelihoodBound | None = None
    """None where it was not asked for. `elbo`, which has no sampling noise, takes each row at its posterior mean."""

    def figures(self) -> dict[str, Figure]:
        """The figures by name, the most telling first."""
        labelled = self.labelled and {
            "ROC AUC": self.labelled.roc_auc,
            "average precision": self.labelled.average_precision,
            "precision": self.labelled.precision,
            "recall": self.labelled.recall,
            "F1": self.labelled.f1,
            "best F1 of any threshold": Figure(self.labelled.best_f1),
        }
        return (labelled or {}) | {
            "false-positive rate": self.false_positive_rate,
            "ELBO, nats": self.elbo,
            "reconstruction, nats": self.reconstruction,
            "KL, nats": self.kl,
            **(self.evidence.figures() if self.evidence else {}),
        }


class Remedy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A second fit, with free bits, after a posterior that collapsed. ELBOs are held-out ones, in nats per record."""

    columns: tuple[str, str] | None
    """The two columns, or pixels, with the most mutual information; None where nothing depends on anything else."""
    nats: float = 0.0
    elbo: float | None = None
    remedied_elbo: float | None = None

    @property
    def helped(self) -> bool:
        """Whether the second fit was better, and kept."""
        return self.elbo is not None and self.remedied_elbo is not None and self.remedied_elbo > self.elbo


class Symptom(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A figure by which a fit is known to be unwell, and what to do then; a rule of thumb."""

    name: str
    figure: str
    """What `value` is, in words."""
    value: float
    limit: float
    worse: Literal["above", "below"]
    advice: str
    """What to try; it names the settings."""

    @property
    def present(self) -> bool:
        """Whether the figure is beyond its limit."""
        return self.value > self.limit if self.worse == "above" else self.value < self.limit


class Diagnosis(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How healthy the fit is; ELBOs and KL are means in nats per record."""

    latent: int
    active_units: tuple[int, ...]
    kl: tuple[float, ...]
    """Per dimension, a member's largest first, averaged over members."""
    collapsed: bool
    """Whether the latent space says next to nothing. Where columns are independent that is no fault."""
    remedy: Remedy | None
    elbo_fit: float
    elbo_new: float
    """Of rows that the network never saw."""
    gap_error: float
    best_step: int
    last_step: int
    steps: int
    overfitted: bool
    underfitted: bool
    notes: tuple[str, ...]
    """What needs attention, each a sentence with what to do about it."""
    symptoms: tuple[Symptom, ...] = ()
    """Those that are absent too; none in models of before."""


class Baseline(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A detector's AUROC and average precision on rows on which others are tried too."""

    name: str
    auroc: float
    ap: float
    gain: float = 0.0
    """By how much its AUROC is above that of the model."""
    error: float = 0.0
    """Standard error of the gain, the rows being the same (DeLong et al., 1988)."""
    option: str | None = None
    """The detector of the user's choice that it is; None if it is none."""


class DetectorComparison(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The model, first, and simple detectors that were fitted to the same rows."""

    detectors: tuple[Baseline, ...]
    basis: Basis
    normal: int
    anomalous: int
    anomaly_rate: float | None = None
    """The share of anomalies for which the average precision holds; None where it is that of the rows."""


class Separation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An AUROC, or a difference of two: its mean over folds, and the standard error of that."""

    mean: float
    error: float


class DetectorTrial(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How well a detector tells normal rows that it did not see from others; None where there were none of a kind."""

    detector: str
    swapped: Separation | None = None
    """From rows with a tenth of their fields, at least one, taken from other rows."""
    displaced: Separation | None = None
    """From rows that lie wider than the data."""
    both: Separation | None = None
    """The mean of the two."""
    gain: Separation | None = None
    """By how much `both` is above that of the VAE on the same rows; None for the VAE."""
    refusal: str = ""
    """Why it could not be fitted to these rows."""


class DetectorChoice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The evidence by which a detector was chosen."""

    chosen: str
    folds: int
    rows: int
    """Fitting rows that were judged by models which did not see them, all folds together."""
    trials: tuple[DetectorTrial, ...]
    """The VAE first."""
    reason: str
    """Why it was chosen, in a sentence."""


class SuspectRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A fitting row that looks strange."""

    row: int
    """Its place in the training files, from 0; from 1 in models of before."""
    score: float


class Suspects(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The strangest fitting rows, and signs that some are anomalies.

    A network can learn a row by heart, and an anomaly with many like it is learned like anything else: such rows score
    low, so that there may be more anomalies among the rows than those that are listed here.
    """

    rows: tuple[SuspectRow, ...]
    judged: int
    flagged: int
    expected: tuple[int, int]
    """Between these numbers would be flagged in 95 % of all cases if the rows were new: a beta-binomial interval."""
    far: int
    """Fitting rows whose score lies far out of the bulk."""
    far_calibration: int
    notes: tuple[str, ...]
    """What needs attention, each a sentence with what to do about it."""


class Recalibration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A version whose threshold was set anew on the normal rows of a file."""

    from_version: int
    trained_version: int
    file: SourceFile
    rows: int
    earlier_evaluation: Evaluation | None
    """That of the trained version, with the threshold that it had."""


class Training(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """Where a model comes from, and how its training went."""

    files: tuple[SourceFile, ...]
    rows: int
    sizes: PartSizes | None
    label: str | None
    """The column of labels, or what else they were taken from."""
    normal: str | None
    settings: dict[str, Any]
    history: tuple[Epoch, ...]
    notes: tuple[str, ...]
    evaluation: Evaluation | None = None
    """On rows that neither fitting nor calibration saw; None once the threshold was set anew."""
    diagnosis: Diagnosis | None
    comparison: DetectorComparison | None
    choice: DetectorChoice | None = None
    """How the detector was chosen, if that was left to the training."""
    suspects: Suspects | None
    warnings: tuple[str, ...]
    """What needs attention, the most important first."""
    recalibration: Recalibration | None = None
    records_per_day: float | None = None
    """By the column of times."""

    def was_trained_on(self, digest: str) -> bool:
        """Whether one of the training files or folders has this SHA-256."""
        return any(file.sha256 == digest for file in self.files)
