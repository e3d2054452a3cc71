"""What training says of itself in a manifest: what a model was made from, how the fit went, and how good it is.

Plain data: nothing of it decides a verdict. Whoever shows a model (the report, the card, `kilter inspect`, the service)
reads it here.
"""

from typing import Any, Literal

import msgspec

Basis = Literal["labels", "swapped fields", "pasted parts"]
"""What counted as an anomaly where detectors were compared: labelled ones, or such as were made of normal records."""


class SourceFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A training file, or a folder of pictures."""

    name: str
    bytes: int
    """Of a folder, those of all its pictures."""
    sha256: str
    """Of a folder, that of its pictures' names and SHA-256 sums."""
    pictures: int | None = None
    """How many pictures a folder holds; None for a file."""


class PartSizes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many normal rows served what."""

    fit: int
    calibration: int
    held_out: int


class Epoch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the fit looked like at one evaluation; every figure in nats per record."""

    step: int
    loss: float
    """What the optimiser minimised (masked records, KL weighted by the warm-up), mean since the last evaluation."""
    reconstruction: float
    kl: float
    held_out_elbo: float
    """Mean ELBO of whole records that the member never saw, averaged over members; it decides when to stop."""


class Figure(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A figure with its 95 % interval; all None where it cannot be known."""

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
    """The figures that need labels. Intervals are from a stratified bootstrap."""

    counts: Counts
    roc_auc: Figure
    average_precision: Figure
    precision: Figure
    recall: Figure
    f1: Figure
    best_f1: float | None
    """The F1 that the best threshold, chosen with these labels in hand, would have reached."""


class Evaluation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How good a model is on the rows of one table."""

    rows: int
    """Rows that were judged."""
    problems: int
    """Rows that could not be read, and count in no figure."""
    normal: int
    flagged: int
    """Normal rows that were flagged."""
    target_fpr: float
    promised_fpr: float
    """k / (n + 1): the mean realised rate over calibration sets."""
    false_positive_rate: Figure
    """Share of the normal rows that were flagged, with its Clopper-Pearson interval."""
    expected_flags: tuple[int, int]
    """Between these numbers of normal rows are flagged in 95 % of all cases: a beta-binomial interval."""
    within_promise: bool | None
    """Whether `flagged` is inside `expected_flags`; None without normal rows that are new to the detector."""
    elbo: Figure
    """Mean over the normal rows, in nats per record; higher is better."""
    reconstruction: Figure
    """Mean of -log p(x|z) over the normal rows, in nats per record."""
    kl: Figure
    """Mean over the normal rows, in nats per record."""
    labelled: LabelledFigures | None
    """None where there were no labels."""
    notes: tuple[str, ...]
    """Why a figure is not there, in sentences."""

    def figures(self) -> dict[str, Figure]:
        """The figures by name, the most telling first."""
        figures: dict[str, Figure] = {}
        if self.labelled is not None:
            figures |= {
                "ROC AUC": self.labelled.roc_auc,
                "average precision": self.labelled.average_precision,
                "precision": self.labelled.precision,
                "recall": self.labelled.recall,
                "F1": self.labelled.f1,
                "best F1 of any threshold": Figure(self.labelled.best_f1),
            }
        return figures | {
            "false-positive rate": self.false_positive_rate,
            "ELBO, nats": self.elbo,
            "reconstruction, nats": self.reconstruction,
            "KL, nats": self.kl,
        }


class Remedy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was done about a collapsed posterior, and what came of it. ELBOs are in nats per record."""

    columns: tuple[str, str] | None
    """The two columns that tell most about each other; None where columns are independent and nothing was done."""
    nats: float = 0.0
    """How much they tell."""
    elbo: float | None = None
    """Held-out ELBO of the fit that collapsed."""
    remedied_elbo: float | None = None
    """That of the fit with free bits."""

    @property
    def helped(self) -> bool:
        """Whether the second fit is better, and was kept."""
        return self.elbo is not None and self.remedied_elbo is not None and self.remedied_elbo > self.elbo


class Diagnosis(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How healthy the fit is: the figures, ELBOs and KL in nats per record, and what they mean."""

    latent: int
    active_units: tuple[int, ...]
    """Of each member."""
    kl: tuple[float, ...]
    """Per dimension, a member's largest first, averaged over members."""
    collapsed: bool
    """Whether the latent space says next to nothing. Where columns are independent that is no fault."""
    remedy: Remedy | None
    """What was done about a collapse; None if there was none."""
    elbo_fit: float
    elbo_new: float
    """Mean ELBO of fitting rows and of rows that the network never saw."""
    gap_error: float
    """Standard error of the difference between the two."""
    best_step: int
    last_step: int
    steps: int
    """The most steps that were allowed."""
    overfitted: bool
    underfitted: bool
    notes: tuple[str, ...]
    """What needs attention, each a sentence with what to do about it."""


class Baseline(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a detector reaches on rows on which others are tried too."""

    name: str
    auroc: float
    ap: float
    """Average precision."""
    gain: float = 0.0
    """By how much its AUROC is above that of the model."""
    error: float = 0.0
    """Standard error of the gain, the rows being the same (DeLong et al., 1988)."""


class DetectorComparison(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The model, first, and simple detectors that were fitted to the same rows."""

    detectors: tuple[Baseline, ...]
    basis: Basis
    """What counts as an anomaly."""
    normal: int
    anomalous: int


class Suspect(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A fitting row that looks strange."""

    row: int
    """Where it stands in the training files, from 1 below the header."""
    score: float


class Suspects(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The strangest fitting rows, and signs that some are anomalies.

    A network can learn a row by heart, and an anomaly with many like it is learned like anything else: such rows score
    low, so that there may be more anomalies among the rows than those that are listed here.
    """

    rows: tuple[Suspect, ...]
    """The highest scores, highest first."""
    judged: int
    """Fitting rows that were scored."""
    flagged: int
    """Those of them above the threshold."""
    expected: tuple[int, int]
    """Between these numbers would be above it in 95 % of all cases if the rows were new: a beta-binomial interval."""
    far: int
    """Fitting rows whose score lies far out of the bulk."""
    far_calibration: int
    """Calibration rows whose score does."""
    notes: tuple[str, ...]
    """What needs attention, each a sentence with what to do about it."""


class Recalibration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which version's threshold was set anew, and on what."""

    from_version: int
    trained_version: int
    """The version that the network was trained for."""
    file: SourceFile
    rows: int
    """Rows of the file that count as normal."""
    earlier_evaluation: Evaluation | None
    """That of the trained version, with the threshold that it had."""


class Training(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """Where a model comes from, and what training says of the result."""

    files: tuple[SourceFile, ...]
    rows: int
    sizes: PartSizes | None
    label: str | None
    """The column of labels, or what else they were taken from."""
    normal: str | None
    """The label of normal records."""
    settings: dict[str, Any]
    """The configuration of the training, as it was asked for."""
    history: tuple[Epoch, ...]
    """The last evaluation of the fit."""
    notes: tuple[str, ...]
    evaluation: Evaluation | None = None
    """On rows that neither fitting nor calibration saw; None once the threshold was set anew."""
    diagnosis: Diagnosis | None
    comparison: DetectorComparison | None
    suspects: Suspects | None
    warnings: tuple[str, ...]
    """What needs attention, the most important first."""
    recalibration: Recalibration | None = None

    def was_trained_on(self, digest: str) -> bool:
        """Whether a file or folder with this SHA-256 is among those that the model was trained on."""
        return any(file.sha256 == digest for file in self.files)
