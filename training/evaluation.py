"""What an evaluation found: figures with their intervals, as they stand in a manifest."""

import msgspec
import pandas as pd


class Figure(msgspec.Struct, frozen=True):
    """A figure with its 95 % interval; all None where it cannot be known."""

    value: float | None
    low: float | None = None
    high: float | None = None


class Counts(msgspec.Struct, frozen=True):
    """Verdicts against labels: flagged anomalies, flagged normals, passed normals, passed anomalies."""

    tp: int
    fp: int
    tn: int
    fn: int


class Labelled(msgspec.Struct, frozen=True):
    """The figures that need labels. Intervals are from a stratified bootstrap."""

    counts: Counts
    roc_auc: Figure
    average_precision: Figure
    precision: Figure
    recall: Figure
    f1: Figure
    best_f1: float | None
    """The F1 that the best threshold, chosen with these labels in hand, would have reached."""


class Evaluation(msgspec.Struct, frozen=True):
    """What was found on the rows of one table. It goes into the manifest as it stands."""

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
    labelled: Labelled | None
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

    def frame(self) -> pd.DataFrame:
        """The figures as a table with the columns metric, value, low, high; NaN where one cannot be known."""
        rows = [(metric, figure.value, figure.low, figure.high) for metric, figure in self.figures().items()]
        frame = pd.DataFrame(rows, columns=["metric", "value", "low", "high"])
        return frame.astype({"value": float, "low": float, "high": float})
