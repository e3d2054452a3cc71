"""One training run as its report and model card see it, beside the manifest: what happened, and nothing that acts."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from kilter.service.detector.arrays import Floats, Mask, Pixels, Positions
from kilter.service.detector.detector import Judge
from kilter.service.detector.findings import Epoch, Evaluation
from kilter.service.detector.inputs import Table
from kilter.training.data.source import ColumnDecision


class Scored(NamedTuple):
    """Rows and their scores, (n,); NaN for a row with a problem."""

    table: Table
    scores: Floats
    rows: Positions | None = None
    """Where each row stands in the training files, from 0, if that is known."""

    def strangest(self, count: int) -> Positions:
        """The positions of the highest scores, highest first."""
        usable = np.flatnonzero(~np.isnan(self.scores))
        order: Positions = usable[np.argsort(-self.scores[usable], kind="stable")][:count]
        return order


class Latent(NamedTuple):
    """The posterior means of some rows, (rows, L), their scores, (rows,), and whether each is a labelled anomaly."""

    means: Floats
    scores: Floats
    anomalous: Mask
    table: Table
    """The rows themselves."""


class Pictured(NamedTuple):
    """What the report of a model of pictures shows besides."""

    names: tuple[str, ...]
    """What the pictures of the training data are called, by their rows."""
    normal: Scored
    """Normal pictures that the network did not see."""
    fresh: bool
    """Whether those served nothing else; they are the calibration pictures otherwise."""
    prior: Pixels
    """Pictures that the network makes of draws from its prior, (n, height, width, channels)."""


@dataclass(frozen=True)
class Run:
    """What the report and the model card are written from, beside the manifest."""

    judge: Judge
    decisions: tuple[ColumnDecision, ...]
    """One for every column of the training files, in their order, those left out included."""
    history: list[Epoch]
    evaluation: Evaluation
    held_out: Scored | None = None
    """Normal rows that neither fitting nor calibration saw."""
    anomalies: Scored | None = None
    latent: Latent | None = None
    notes: tuple[str, ...] = ()
    """What the user should know first, each a plain sentence."""
    fitted: Scored | None = None
    """The fitting rows in which suspects were looked for."""
    pictured: Pictured | None = None
    """None for a table."""
