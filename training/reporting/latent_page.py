"""The latent space to look at: records on maps, what is decoded between them, along axes, and beside the originals.

A page holds all that it shows; nothing is loaded from elsewhere.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jinja2
import matplotlib as mpl
import msgspec
import numpy as np
from matplotlib.figure import Figure

from kilter.service.detector.arrays import Floats, Mask, Matrix
from kilter.service.detector.detector import Detector
from kilter.service.detector.inputs import Table, take
from kilter.service.detector.verdicts import Verdicts
from kilter.training.reporting.gallery import drawn
from kilter.training.reporting.maps import USUAL_MAPS, draw_maps
from kilter.training.reporting.plots import WIDTH
from kilter.training.reporting.report import TEMPLATES

MOST = 1_000  # records that are shown; of more a sample, drawn at random
LEAST = 3
SIDE = 25  # cells of the decoded plane, each way
THUMBNAIL = 40  # pixels of a picture on the page
STEPS = 9  # along an axis
AXES = 6  # along which records are traversed, at most
REACH = 3.0  # standard deviations that an axis is followed to either side
REBUILT = 12  # records that stand beside their reconstruction: from the lowest score to the highest
DIGITS = 4  # of coordinates
LEAST_SHARE = 0.01  # of the variance: axes that carry less are not traversed
NORMAL, FLAGGED, LABELLED = "#2a6fb0", "#b7770d", "#c0392b"  # as on the page


@dataclass(frozen=True)
class LatentView:
    """Records in latent space, by their codes, and the plane in which they vary most."""

    detector: Detector
    table: Table
    verdicts: Verdicts
    labelled: Mask | None
    """Whether each is labelled as an anomaly, (n,); None without labels."""
    codes: Floats
    """(n, size)"""
    centre: Floats
    axes: Floats
    """The principal axes of the codes, (axes, size), orthonormal, that of the largest variance first."""
    spread: Floats
    """The standard deviation along each, (axes,)."""
    share: float
    """The share of the variance that the first two carry."""

    @property
    def places(self) -> Floats:
        """The records on the plane, (n, 2)."""
        places: Floats = (self.codes - self.centre) @ self.axes[:2].T
        return places

    def maps(self, kinds: Sequence[str], seed: int) -> dict[str, Floats]:
        """Maps of the records, by their titles: (n, 2) each. Raises KilterError if one needs what is not installed."""
        return draw_maps(kinds, self.codes, self.places, seed)

    @property
    def pictures(self) -> bool:
        """Whether records are pictures."""
        return bool(self.detector.schema.columns[0].shape)

    def decode(self, places: Floats) -> list[Any]:
        """What is decoded at places along the first axes, (m, axes): fields, or a picture as a data URL."""
        codes = self.centre + places @ self.axes[: places.shape[1]]
        return self.shown(self.detector.latent.decode(codes))

    def shown(self, table: Table) -> list[Any]:
        """Records as the page shows them: fields, or a picture as a data URL."""
        records = self.detector.modality.given(table)
        return [drawn(pixels, THUMBNAIL) for pixels in records] if self.pictures else list(records)


def view_latent(detector: Detector, table: Table, labelled: Mask | None, seed: int = 0) -> LatentView:
    """See records, of more than MOST a sample. Raises KilterError for a model that does not encode.

    Records in error are left out; at least LEAST others are needed, else ValueError is raised.
    """
    bad = {problem.row for problem in table.problems}
    good = np.array([row for row in range(table.rows) if row not in bad], np.int64)
    if len(good) < LEAST:
        raise ValueError(f"{len(good)} records can be read, and a map needs {LEAST}")
    kept = np.sort(np.random.default_rng(seed).permutation(good)[:MOST])
    table = take(table, kept)
    codes = detector.latent.encode(table)
    centre = codes.mean(axis=0)
    _, values, axes = np.linalg.svd(codes - centre, full_matrices=False)
    total = max(float((values**2).sum()), 1e-300)
    return LatentView(
        detector,
        table,
        detector.score(table),
        None if labelled is None else labelled[kept],
        codes,
        centre,
        axes,
        values / np.sqrt(len(codes)),
        float((values[:2] ** 2).sum() / total),
    )


def grid_of(view: LatentView) -> tuple[Floats, Floats]:
    """The coordinates of the cells of the decoded plane, along its first and its second axis, (SIDE,) each."""
    low, high = (np.quantile(view.places, share, axis=0) for share in (0.005, 0.995))
    room = 0.1 * (high - low) + 1e-6
    first, second = (np.linspace(low[i] - room[i], high[i] + room[i], SIDE) for i in range(2))
    return first, second


def latent_page(view: LatentView, seed: int = 0, maps: Sequence[str] = USUAL_MAPS) -> str:
    """The page: maps whose colours can be chosen, what is decoded under the pointer, traversals, reconstructions."""
    detector, verdicts = view.detector, view.verdicts
    first, second = grid_of(view)
    cells = np.stack(np.meshgrid(first, second, indexing="xy"), axis=-1).reshape(-1, 2)
    traversals = []
    variance = view.spread**2
    count = max(1, min(AXES, int((variance > LEAST_SHARE * variance.sum()).sum())))
    for axis in range(count):
        along = np.zeros((STEPS, axis + 1))
        along[:, axis] = np.linspace(-REACH, REACH, STEPS) * view.spread[axis]
        traversals.append(view.decode(along))
    order = np.argsort(verdicts.score, kind="stable")
    picked = order[np.linspace(0, len(order) - 1, min(REBUILT, len(order))).round().astype(np.int64)]
    some = take(view.table, picked)
    content = {
        "maps": {title: _rounded(places) for title, places in view.maps(maps, seed).items()},
        "records": view.shown(view.table),
        "colours": _colours(view),
        "flagged": verdicts.anomaly.tolist(),
        "score": [float(f"{score:.6g}") for score in verdicts.score],
        "p": [float(f"{p:.4g}") for p in verdicts.p_value],
        "grid": {"first": _rounded(first), "second": _rounded(second), "cells": view.decode(cells)},
        "traversals": traversals,
        "rebuilt": {
            "given": view.shown(some),
            "made": view.shown(detector.latent.reconstruct(some)),
            "rows": picked.tolist(),
        },
        "pictures": view.pictures,
        "reach": REACH,
    }
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=jinja2.select_autoescape(["html"]),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # In a script "<" could begin a tag that ends it.
    text = msgspec.json.encode(content).decode().replace("<", "\\u003c").replace("\u2028", "\\u2028")
    return environment.get_template("latent.html").render(
        name=detector.name,
        version=detector.version,
        count=len(view.codes),
        flagged=int(verdicts.anomaly.sum()),
        share=view.share,
        numbers=view.codes.shape[1],
        content=text,
    )


def _rounded(values: Floats) -> list[Any]:
    rounded: list[Any] = values.round(DIGITS).tolist()
    return rounded


def _colours(view: LatentView) -> dict[str, list[Any]]:
    """By what records can be coloured: the score, the label, and every column of a table."""
    colours: dict[str, list[Any]] = {"score": view.verdicts.score.tolist()}
    if view.labelled is not None:
        colours["label"] = np.where(view.labelled, "anomaly", "normal").tolist()
    if not view.pictures:
        records: Sequence[dict[str, Any]] = view.detector.modality.given(view.table)
        colours |= {name: [record[name] for record in records] for name in view.detector.schema.names}
    return colours


@mpl.rc_context({"font.size": 8, "axes.spines.top": False, "axes.spines.right": False})
def latent_figure(view: LatentView, form: str, seed: int = 0, maps: Sequence[str] = USUAL_MAPS) -> bytes:
    """Maps, and of pictures the decoded plane, as a PNG or SVG file: `form` is `png` or `svg`."""
    panels = len(maps) + view.pictures
    figure = Figure(figsize=(WIDTH, 4.3 * panels), layout="constrained")
    axes = figure.subplots(panels, 1, squeeze=False)[:, 0]
    flagged = view.verdicts.anomaly
    labelled = np.zeros(len(flagged), bool) if view.labelled is None else view.labelled
    for ax, (title, places) in zip(axes, view.maps(maps, seed).items(), strict=False):
        ax.set_title(title, loc="left", fontsize=9)
        # A few far records would press all others together: they stand on the edge.
        places = np.clip(places, *np.quantile(places, [0.005, 0.995], axis=0))
        for name, mask, colour in (
            ("not flagged", ~flagged & ~labelled, NORMAL),
            ("flagged", flagged & ~labelled, FLAGGED),
            ("labelled as an anomaly", labelled, LABELLED),
        ):
            if mask.any():
                x, y = places[mask].T
                ax.scatter(x, y, s=8, color=colour, alpha=0.6, linewidths=0, label=name)
        ax.legend(loc="best")
    if view.pictures:
        axes[-1].imshow(decoded_plane(view), cmap="gray", vmin=0, vmax=1, aspect="equal")
        axes[-1].set_axis_off()
        axes[-1].set_title("decoded plane of the first two components", loc="left", fontsize=9)
    content = io.BytesIO()
    figure.savefig(content, format=form, dpi=160, facecolor="white", metadata={"Date": None} if form == "svg" else None)
    return content.getvalue()


def decoded_plane(view: LatentView) -> Matrix:
    """The pictures that are decoded on the plane, side by side as one: (height, width, channels), from 0 to 1."""
    first, second = grid_of(view)
    cells = np.stack(np.meshgrid(first, second[::-1], indexing="xy"), axis=-1).reshape(-1, 2)
    codes = view.centre + cells @ view.axes[:2]
    pictures = np.asarray(view.detector.modality.given(view.detector.latent.decode(codes)))
    _, height, width, channels = pictures.shape
    whole = pictures.reshape(SIDE, SIDE, height, width, channels).transpose(0, 2, 1, 3, 4)
    plane: Matrix = whole.reshape(SIDE * height, SIDE * width, channels).astype(np.float32) / np.float32(255)
    return plane
