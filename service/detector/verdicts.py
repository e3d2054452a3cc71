"""Verdicts on records, one beside the other."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from kilter.service.detector.arrays import Floats, Mask, Matrix
from kilter.service.detector.errors import Problem
from kilter.service.detector.nearest_normal import NearestNormal

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

    from kilter.service.detector.modalities.pictures import Region
    from kilter.service.detector.modalities.tables import Reason


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
