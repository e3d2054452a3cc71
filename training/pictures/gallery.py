"""The pictures of a report: what was given, what was expected, and where they differ."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kilter.service.detector.columns import ImageColumn
from kilter.service.detector.detector import Detector
from kilter.service.detector.inputs import take
from kilter.service.detector.pictures.regions import Grid
from kilter.training.figures import strangest
from kilter.training.pictures.drawing import drawn, drawn_heat, residual
from kilter.training.plots import plane
from kilter.training.run import Latent, Run, Scored

SHOWN = 7
"""Pictures in a line, from the lowest score to the highest."""
STRANGEST = 10
CELLS = (10, 16)
"""Rows and columns of the latent map; of the pictures that fall into a cell one is drawn."""
THUMBNAIL = 32
GROUPS = ("normal", "flagged", "anomaly")

Positions = npt.NDArray[np.int64]


class Shown(NamedTuple):
    """A picture with its verdict; pictures are data URLs."""

    name: str
    score: float
    p_value: float
    flagged: bool
    surprise: float
    """What its place among those shown rests on: the score, or the negative ELBO in nats."""
    given: str
    heat: str
    expected: str
    residual: str


class Placed(NamedTuple):
    """A picture on the latent map, from its left and top in percent."""

    left: float
    top: float
    picture: str
    group: str
    """One of `GROUPS`."""


class Gallery(NamedTuple):
    """All that the report shows as pictures."""

    normal: list[Shown]
    anomalous: list[Shown]
    strange: list[Shown]
    """The strangest of the normal ones."""
    suspicious: list[Shown]
    """The strangest of those that the network was fitted to."""
    fresh: bool
    """Whether the normal ones served nothing else."""
    prior: list[str]
    latent: list[Placed]


def gallery_of(run: Run) -> Gallery | None:
    """The pictures of a run; None for a table."""
    made = run.pictured
    if made is None:
        return None
    names, detector = made.names, run.detector
    anomalies = run.anomalies
    return Gallery(
        normal=_shown(detector, made.normal, spread(made.normal), names),
        anomalous=[] if anomalies is None else _shown(detector, anomalies, spread(anomalies), names),
        strange=_shown(detector, made.normal, strangest(made.normal, STRANGEST), names),
        suspicious=[] if run.fitted is None else _shown(detector, run.fitted, strangest(run.fitted, STRANGEST), names),
        fresh=made.fresh,
        prior=[drawn(pixels) for pixels in made.prior],
        latent=[] if run.latent is None else _latent_map(run.latent, run.manifest.calibration.threshold),
    )


def spread(scored: Scored) -> Positions:
    """The positions of a few rows whose scores are spread evenly over all of them, lowest first."""
    order = strangest(scored, len(scored.scores))[::-1]
    places = (np.arange(SHOWN) + 0.5) / SHOWN * len(order)
    return order[np.unique(places.astype(np.int64))] if len(order) else order


def _shown(detector: Detector, scored: Scored, rows: Positions, names: tuple[str, ...]) -> list[Shown]:
    column, grid = detector.schema.columns[0], detector.modality.grid
    if not isinstance(column, ImageColumn) or grid is None or not len(rows):
        return []
    table = take(scored.table, rows)
    found = detector.score(table, reasons=1)
    (expected,) = detector.scorer.outputs(table, ("expected",))
    rebuilt = np.rint(np.clip(expected, 0, 1) * 255).astype(np.uint8).reshape(-1, *column.shape)
    pixels = table.columns[column.name]
    evidence = found.evidence
    places = rows if scored.rows is None else scored.rows[rows]
    return [
        Shown(
            names[place] if place < len(names) else "",
            float(found.score[i]),
            float(found.p_value[i]),
            bool(found.anomaly[i]),
            float(scored.scores[rows[i]]),
            drawn(pixels[i]),
            drawn(pixels[i]) if evidence is None else drawn_heat(pixels[i], evidence[i], Grid(*grid)),
            drawn(rebuilt[i]),
            drawn(residual(pixels[i], rebuilt[i])),
        )
        for i, place in enumerate(places.tolist())
    ]


def _latent_map(latent: Latent, threshold: float) -> list[Placed]:
    """Thumbnails where the network places pictures, on two principal components; of a cell one of the rarest group."""
    if latent.table is None or len(latent.means) < 2:
        return []
    points, _ = plane(latent.means)
    low, high = np.quantile(points, [0.005, 0.995], axis=0)
    inside = (np.clip(points, low, high) - low) / np.maximum(high - low, 1e-300)
    rows, columns = CELLS
    cells = np.minimum((inside * (columns, rows)).astype(np.int64), (columns - 1, rows - 1))
    group = np.where(latent.anomalous, 2, np.where(latent.scores > threshold, 1, 0))
    order = np.argsort(np.bincount(group)[group], kind="stable")
    taken, first = np.unique(cells[order] @ (1, columns), return_index=True)
    (pixels,) = latent.table.columns.values()
    return [
        Placed(
            round(100 * (cell % columns) / columns, 2),
            round(100 * (rows - 1 - cell // columns) / rows, 2),
            drawn(pixels[row], THUMBNAIL),
            GROUPS[group[row]],
        )
        for cell, row in zip(taken.tolist(), order[first].tolist(), strict=True)
    ]
