"""The pictures of a report: what was given, what was expected, and where they differ.

They are embedded as PNG data, at a size that can be seen and does not make the page heavy.
"""

import io
from base64 import b64encode
from typing import NamedTuple

import numpy as np
from PIL import Image

from kilter.service.detector.arrays import Floats, Pixels, Positions
from kilter.service.detector.detector import Judge
from kilter.service.detector.inputs import take
from kilter.service.detector.modalities.pictures import Grid, heatmap
from kilter.service.detector.pictures.column import ImageColumn
from kilter.service.detector.pictures.pixels import image_of
from kilter.training.reporting.plots import plane
from kilter.training.reporting.run import Latent, Pictured, Run, Scored

SHOWN = 7
"""Pictures in a line, from the lowest score to the highest."""
STRANGEST = 10
CELLS = (10, 16)
"""Rows and columns of the latent map; of the pictures that fall into a cell one is drawn."""
THUMBNAIL = 32
GROUPS = ("normal", "flagged", "anomaly")

SIDE = 96
"""Pixels to which smaller pictures are enlarged, in whole steps, and larger ones reduced."""
GAIN = 3
"""A third of the range of grey is as dark a difference as can be."""
COLOURS = 128
"""Colours of a heat map."""


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


def gallery_of(run: Run, made: Pictured, column: ImageColumn) -> Gallery:
    """The pictures of a run."""

    def shown(scored: Scored | None, rows: Positions) -> list[Shown]:
        return [] if scored is None else _shown(run.judge, column, scored, rows, made.names)

    normal, anomalies, fitted = made.normal, run.anomalies, run.fitted
    nothing = np.empty(0, np.int64)
    return Gallery(
        normal=shown(normal, pick_evenly(normal)),
        anomalous=shown(anomalies, pick_evenly(anomalies) if anomalies else nothing),
        strange=shown(normal, normal.strangest(STRANGEST)),
        suspicious=shown(fitted, fitted.strangest(STRANGEST) if fitted else nothing),
        fresh=made.fresh,
        prior=[drawn(pixels) for pixels in made.prior],
        latent=[] if run.latent is None else _latent_map(run.latent, run.judge.calibration.threshold),
    )


def pick_evenly(scored: Scored) -> Positions:
    """The positions of a few rows whose scores are spread evenly over all of them, lowest first."""
    order = scored.strangest(len(scored.scores))[::-1]
    places = (np.arange(SHOWN) + 0.5) / SHOWN * len(order)
    return order[np.unique(places.astype(np.int64))] if len(order) else order


def _shown(judge: Judge, column: ImageColumn, scored: Scored, rows: Positions, names: tuple[str, ...]) -> list[Shown]:
    grid = judge.modality.grid
    if grid is None or not len(rows):
        return []
    table = take(scored.table, rows)
    verdicts = judge.score(table, reasons=1)
    (expected,) = judge.scorer.outputs(table, ("expected",))
    rebuilt = np.rint(np.clip(expected, 0, 1) * 255).astype(np.uint8).reshape(-1, *column.shape)
    pixels = table.columns[column.name]
    evidence = verdicts.evidence
    places = rows if scored.rows is None else scored.rows[rows]
    return [
        Shown(
            names[place] if place < len(names) else "",
            float(verdicts.score[i]),
            float(verdicts.p_value[i]),
            bool(verdicts.anomaly[i]),
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
    if len(latent.means) < 2:
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


def drawn(pixels: Pixels, side: int = SIDE) -> str:
    """A picture, (height, width, channels), as a data URL."""
    return _url(_at(image_of(pixels), side))


def drawn_heat(pixels: Pixels, evidence: Floats, grid: Grid) -> str:
    """A picture with the evidence against it, (rows * columns), drawn over it, as a data URL."""
    content = heatmap(_at(image_of(pixels).convert("RGB"), SIDE), evidence, grid)
    return _url(Image.open(io.BytesIO(content)).quantize(COLOURS))


def residual(pixels: Pixels, expected: Pixels) -> Pixels:
    """Where a picture differs from what was expected, darker where more: (height, width, 1)."""
    difference = np.abs(pixels.astype(np.int16) - expected).max(axis=2, keepdims=True)
    shade: Pixels = (255 - np.minimum(GAIN * difference, 255)).astype(np.uint8)
    return shade


def _at(image: Image.Image, side: int) -> Image.Image:
    longest = max(image.size)
    if longest > side:
        image = image.copy()
        image.thumbnail((side, side), Image.Resampling.LANCZOS)
        return image
    times = max(1, side // longest)
    return image.resize((times * image.width, times * image.height), Image.Resampling.NEAREST)


def _url(image: Image.Image) -> str:
    content = io.BytesIO()
    image.save(content, "PNG", optimize=True)
    return f"data:image/png;base64,{b64encode(content.getvalue()).decode()}"
