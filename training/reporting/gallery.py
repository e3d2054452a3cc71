"""The pictures of a report, embedded as PNG data: the given one, the expected one, and their difference."""

import io
from base64 import b64encode
from typing import NamedTuple

import numpy as np
from PIL import Image

from kilter.service.detector.arrays import Floats, Pixels, Positions
from kilter.service.detector.inputs import take
from kilter.service.detector.modalities.pictures import Grid, heatmap
from kilter.service.detector.pictures.column import ImageColumn
from kilter.service.detector.pictures.pixels import image_of
from kilter.training.reporting.plots import plane
from kilter.training.reporting.run import Latent, Run, Scored

SHOWN = 7  # pictures in a line, from the lowest score to the highest
STRANGEST = 10
CELLS = (10, 16)  # rows and columns of the latent map; of the pictures that fall into a cell one is drawn
THUMBNAIL = 32
GROUPS = ("normal", "flagged", "anomaly")
SIDE = 96  # pixels to which smaller pictures are enlarged, in whole steps, and larger ones reduced
GAIN = 3  # a difference of a third of the range of grey is black
HEAT_COLOURS = 128


class Shown(NamedTuple):
    """A picture with its verdict; pictures are data URLs."""

    name: str
    score: float
    p_value: float
    flagged: bool
    surprise: float
    """The number by which it was chosen: the score, or the negative ELBO in nats."""
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


class Gallery(NamedTuple):
    """All pictures of a report; the strange ones are normal, and the network was fitted to the suspicious ones."""

    normal: list[Shown]
    anomalous: list[Shown]
    strange: list[Shown]
    suspicious: list[Shown]
    samples: list[str]
    latent: list[Placed]


def gallery_of(run: Run, column: ImageColumn) -> Gallery:
    """The pictures of a run."""
    grid = run.judge.modality.grid

    def shown(scored: Scored | None, *, strange: bool = False) -> list[Shown]:
        if scored is None or grid is None:
            return []
        rows = scored.strangest(STRANGEST) if strange else evenly_spread(scored)
        if not len(rows):
            return []
        table = take(scored.table, rows)
        verdicts = run.judge.score(table, reasons=1)
        (expected,) = run.judge.scorer.outputs(table, ("expected",))
        rebuilt = np.rint(np.clip(expected, 0, 1) * 255).astype(np.uint8).reshape(-1, *column.shape)
        pixels, evidence = table.columns[column.name], verdicts.evidence
        return [
            Shown(
                run.names[scored.rows[row]],
                float(verdicts.score[i]),
                float(verdicts.p_value[i]),
                bool(verdicts.anomaly[i]),
                float(scored.scores[row]),
                drawn(pixels[i]),
                drawn(pixels[i]) if evidence is None else drawn_heat(pixels[i], evidence[i], Grid(*grid)),
                drawn(rebuilt[i]),
                drawn(residual(pixels[i], rebuilt[i])),
            )
            for i, row in enumerate(rows)
        ]

    return Gallery(
        normal=shown(run.normal),
        anomalous=shown(run.anomalies),
        strange=shown(run.normal, strange=True),
        suspicious=shown(run.fitted, strange=True),
        samples=[] if run.samples is None else [drawn(pixels) for pixels in run.samples],
        latent=[] if run.latent is None else _latent_map(run.latent, run.judge.calibration.threshold),
    )


def evenly_spread(scored: Scored) -> Positions:
    """The positions of a few rows whose scores are spread evenly over all of them, lowest first."""
    order = scored.strangest(len(scored.scores))[::-1]
    places = (np.arange(SHOWN) + 0.5) / SHOWN * len(order)
    return order[np.unique(places.astype(np.int64))] if len(order) else order


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
    return _url(Image.open(io.BytesIO(content)).quantize(HEAT_COLOURS))


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
