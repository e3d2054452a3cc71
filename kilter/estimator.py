"""An estimator in the conventions of scikit-learn."""

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import polars as pl
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted, validate_data

from kilter.learning import config_of, source_of
from kilter.service.detector import Detector, KilterError, Verdicts, load, store
from kilter.service.detector.calibration import rounded
from kilter.training.config import TrainConfig
from kilter.training.pipeline import Trained, learn

Floats = npt.NDArray[np.float64]
NAME = "model"


class AnomalyDetector(OutlierMixin, BaseEstimator):  # type: ignore[misc]
    """Learns what normal records look like, and judges others.

    `fit` takes normal records: a frame of pandas or polars with columns of every kind, or a matrix of numbers, NaN
    where a value is missing. Of records like those, at most the share `target_fpr` is flagged; without it, the lowest
    of 1, 2, 5 and 10 % that so many records support. `detector` is `vae`, `nearest`, `pca`, `iforest`, `gmm` or `auto`,
    and `score_kind`, which is the VAE's, `neighbours`, `core`, `elbo` or `reconstruction`; with `group_by`, the values
    of that column have thresholds of their own; `split` is `auto`, `random` or `time`, by which the calibration records
    are set apart, those of one value of the column `split_by` together. `config` is a TOML file of further settings, or
    the same as a mapping (`docs/training.md`), which also holds for what is left at its default here.

    After `fit`, `detector_` is the `Detector` that was trained, with its p-values and reasons, and `save` writes it to
    a folder of models, from which `kilter.load` and `kilter serve` read it.
    """

    def __init__(
        self,
        *,
        target_fpr: float | None = None,
        detector: str = "vae",
        score_kind: str = "neighbours",
        group_by: str | None = None,
        split: str = "auto",
        split_by: str | None = None,
        config: str | os.PathLike[str] | Mapping[str, Any] | None = None,
        random_state: int | None = None,
    ) -> None:
        self.target_fpr = target_fpr
        self.detector = detector
        self.score_kind = score_kind
        self.group_by = group_by
        self.split = split
        self.split_by = split_by
        self.config = config
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn from normal records, (n, columns); `y` is not looked at. Raises ValueError if they do not suffice."""
        frame = self._frame(X, reset=True)
        settings = {
            "target_fpr": self.target_fpr,
            "detector": self.detector,
            "score": self.score_kind,
            "split": self.split,
            "split_by": self.split_by,
        }
        settings["seed"] = None if self.random_state is None else int(self.random_state)
        usual = {name: getattr(TrainConfig(), name) for name in ("detector", "score", "split")}
        given = {name: value for name, value in settings.items() if value not in (None, usual.get(name))}
        try:
            config = config_of(self.config, given)
            self._trained: Trained = learn(source_of(frame, group_by=self.group_by), config)
            with TemporaryDirectory(prefix="kilter-") as folder:
                self.detector_: Detector = load(self.save(folder))
        except KilterError as error:
            raise ValueError(str(error)) from error
        self.offset_ = -self.detector_.calibration.threshold
        return self

    def score_samples(self, X: Any) -> Floats:
        """How normal records are, (n,): minus the score, to the digits by which it is flagged; lower is stranger."""
        return -rounded(self._verdicts(X).score, self.detector_.calibration.digits)

    def decision_function(self, X: Any) -> Floats:
        """How far the scores of records are below their thresholds, (n,); a record is flagged where it is negative."""
        verdicts, calibration = self._verdicts(X), self.detector_.calibration
        threshold = calibration.threshold if verdicts.threshold is None else verdicts.threshold
        return np.asarray(threshold - rounded(verdicts.score, calibration.digits))

    def predict(self, X: Any) -> npt.NDArray[np.int64]:
        """-1 for each record that is flagged, 1 for all others, (n,)."""
        return np.where(self._verdicts(X).anomaly, -1, 1)

    def save(self, models: str | os.PathLike[str], name: str = NAME) -> Path:
        """Write the model as the next version of `models/name`; return the version's folder. Raises KilterError."""
        check_is_fitted(self, "_trained")
        store.check_name(name)
        return store.add(Path(models), name, partial(self._trained.files, name))

    def _verdicts(self, X: Any) -> Verdicts:
        check_is_fitted(self, "detector_")
        try:
            # As a table, which is not looked up among the training rows: to judge these is the convention here.
            return self.detector_.score(self.detector_.table(self._frame(X, reset=False)))
        except KilterError as error:
            raise ValueError(str(error)) from error

    def _frame(self, X: Any, *, reset: bool) -> Any:
        """The records as a frame, checked as scikit-learn checks them; a matrix gets the columns x0, x1, ..."""
        if hasattr(X, "columns") or hasattr(X, "__arrow_c_stream__"):
            validate_data(self, X, reset=reset, skip_check_array=True)
            return X
        matrix = validate_data(
            self, X, reset=reset, dtype=np.float64, ensure_all_finite="allow-nan", ensure_min_samples=1 + reset
        )
        return pl.DataFrame({f"x{i}": values for i, values in enumerate(matrix.T)})

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = True
        tags.input_tags.string = True
        tags.non_deterministic = self.random_state is None
        return tags

    def __getstate__(self) -> Any:
        if hasattr(self, "_trained"):
            raise TypeError("a model is not pickled: `save` writes it to a folder, from which `kilter.load` reads it")
        return super().__getstate__()
