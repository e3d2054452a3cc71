"""The figures of a report: `<svg>` elements without outside addresses, in the colours of the page's CSS."""

import io
import re
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats
from sklearn import metrics

from kilter.service.detector.arrays import Floats, Mask
from kilter.service.detector.beta import CONFIDENCE
from kilter.service.detector.calibration import Calibration
from kilter.service.detector.findings import Epoch
from kilter.training.fitting.diagnosis import ACTIVE
from kilter.training.reporting.run import Latent

BARS = 40
POINTS = 1_200  # points drawn of the latent space; more would make the page heavy and the picture no clearer
WIDTH = 4.8  # inches: about the width of a phone, where a figure is shown in its own size
# matplotlib draws in these exact colours, as in its style; `render` puts the page's variables in their place.
INK, FAINT, NORMAL, STRANGE, MARK = "#010203", "#010204", "#010205", "#010206", "#010207"
VARIABLES = {INK: "--ink", FAINT: "--rule", NORMAL: "--normal", STRANGE: "--strange", MARK: "--mark"}
STYLE = Path(__file__).parent / "templates" / "report.mplstyle"
STYLED = mpl.rc_context(mpl.rc_params_from_file(STYLE, use_default_template=False))
"""Draws a plot in the style of the report, whatever the caller's own matplotlib settings are."""


def canvas(height: float, panels: int = 1) -> tuple[Figure, list[Axes]]:
    """A figure of `height` inches with panels one above the other that share their x axis."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.subplots(panels, 1, sharex=True, squeeze=False)
    return figure, list(axes[:, 0])


def render(figure: Figure, name: str, alt: str) -> str:
    """The figure as an `<svg>` element with a text for those who cannot see it; ids in it begin with `name`."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = buffer.getvalue()
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->\n?", "", svg[svg.index("<svg") :].strip(), flags=re.DOTALL)
    box = svg.split('viewBox="', 1)[1].split('"', 1)[0]
    svg = f'<svg viewBox="{box}" role="img" aria-label="{escape(alt)}">' + svg.split(">", 1)[1]
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = svg.replace("url(#", f"url(#{name}-").replace('xlink:href="#', f'href="#{name}-')
    svg = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font: \1px var(--sans, sans-serif)", svg)
    for colour, variable in VARIABLES.items():
        svg = svg.replace(colour, f"var({variable})")
    return svg


@STYLED
def training_curves(history: Sequence[Epoch]) -> str:
    """Loss, reconstruction, KL and held-out ELBO over the steps of a fit, a panel each; two of them also held out."""
    figure, axes = canvas(6.0, 4)
    steps = [epoch.step for epoch in history]
    panels = {"loss": INK, "reconstruction": NORMAL, "kl": MARK, "held_out_elbo": STRANGE}
    titles = ("loss", "reconstruction", "KL", "held-out ELBO")
    held_out = {epoch.step: epoch.held_out_kl for epoch in history if epoch.held_out_kl is not None}
    new = {
        "reconstruction": [-epoch.held_out_elbo - held_out[epoch.step] for epoch in history if epoch.step in held_out],
        "kl": [*held_out.values()],
    }
    for ax, (field, colour), title in zip(axes, panels.items(), titles, strict=True):
        values = [getattr(epoch, field) for epoch in history]
        if new.get(field):
            ax.plot([*held_out], new[field], color=INK, linewidth=1, linestyle=":", label="held out")
            ax.legend(loc="upper right")
        ax.plot(steps, values, color=colour, linewidth=1.4, marker="o" if len(steps) < 3 else None, markersize=3)
        ax.set_title(title, loc="left", fontsize=9)
        ax.set_ylabel("nats")
    axes[-1].set_xlabel("step")
    ends = ", ".join(f"{title} {getattr(history[-1], field):.4g}" for field, title in zip(panels, titles, strict=True))
    return render(figure, "curves", f"Four curves over {steps[-1]} steps. At the end: {ends} nats per record.")


@STYLED
def score_distribution(calibration: Floats, threshold: float, unit: str, others: dict[str, Floats]) -> str:
    """How the scores of the calibration rows, and of `others` by name, are distributed, with the threshold."""
    figure, (ax,) = canvas(3.2)
    # Scores can have any tail: the frame is what lies near the threshold, and the outer bars hold the rest.
    middle = float(np.median(calibration))
    reach = max(threshold - middle, 1e-9 * max(1.0, abs(middle)))
    lowest = min(float(scores.min()) for scores in (calibration, *others.values()) if len(scores))
    low, high = max(lowest, middle - 2 * reach), threshold + 2 * reach
    edges = np.linspace(low, high, BARS + 1)
    _shares(ax, calibration, edges, label="calibration", color=NORMAL, fill=True, alpha=0.35)
    for (name, scores), colour in zip(others.items(), (INK, STRANGE), strict=False):
        if len(scores):
            _shares(ax, scores, edges, label=name, color=colour, linewidth=1.3)
    beyond = any((scores > high).any() for scores in (calibration, *others.values()))
    ax.axvline(threshold, color=MARK, linewidth=1.4, linestyle="--", label="threshold")
    note = " (the last bar holds all beyond it)" if beyond else ""
    ax.set(xlabel=f"score, {unit}{note}", ylabel="share of rows")
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    parts = ", ".join(f"{np.mean(scores > threshold):.1%} of {name}" for name, scores in others.items() if len(scores))
    alt = f"Score histograms with the threshold at {threshold:.4g}. Above it: {parts or 'see the text'}."
    return render(figure, "scores", alt)


def _shares(ax: Axes, scores: Floats, edges: Floats, **style: Any) -> None:
    counts, _ = np.histogram(np.clip(scores, edges[0], edges[-1]), edges)
    ax.stairs(counts / len(scores), edges, **style)


@STYLED
def p_value_histogram(p_values: Floats, calibration: Calibration) -> str:
    """P-values of held-out normal rows against the uniform that is expected, with a 95 % band for each bar.

    The band is beta-binomial: all p-values rest on the same calibration scores, and stray together.
    """
    figure, (ax,) = canvas(2.8)
    bars = min(20, calibration.size + 1)
    edges = np.linspace(0.0, 1.0, bars + 1)
    grid = np.arange(1, calibration.size + 2) / (calibration.size + 1)
    # A hair's breadth lets a p-value on an edge fall below it, as the flag's `p <= target` does.
    slots = np.histogram(grid - 1e-12, edges)[0]
    counts = np.histogram(p_values - 1e-12, edges)[0]
    low, high = stats.betabinom.interval(CONFIDENCE, len(p_values), slots, len(grid) - slots)
    ax.stairs(counts, edges, fill=True, color=NORMAL, alpha=0.45)
    ax.stairs(slots / len(grid) * len(p_values), edges, color=INK, linewidth=1.2, label="expected")
    ax.stairs(high, edges, baseline=low, fill=True, color=MARK, alpha=0.25, label="95 % band")
    ax.set_ylim(bottom=0)
    ax.set(xlim=(0, 1), xlabel="p-value", ylabel="rows")
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    inside = int(((counts >= low) & (counts <= high)).sum())
    alt = f"Histogram of {len(p_values)} p-values in {bars} bars; {inside} lie in the expected band."
    return render(figure, "p-values", alt)


@STYLED
def roc_curve(scores: Floats, anomalous: Mask, threshold: float) -> str:
    """True- against false-positive rate, with the point of the threshold."""
    figure, ax = _unit_square("false-positive rate", "true-positive rate")
    fpr, tpr, _ = metrics.roc_curve(anomalous, scores)
    area = metrics.auc(fpr, tpr)
    flagged = scores > threshold
    ax.plot([0, 1], [0, 1], color=FAINT, linewidth=1, label="chance")
    ax.plot(fpr, tpr, color=NORMAL, linewidth=1.6, label=f"area {area:.3f}")
    ax.plot(flagged[~anomalous].mean(), flagged[anomalous].mean(), "o", color=MARK, markersize=6, label="threshold")
    ax.legend(loc="lower right")
    return render(figure, "roc", f"ROC curve with area {area:.3f}.")


@STYLED
def precision_recall_curve(scores: Floats, anomalous: Mask, threshold: float, weight: float = 1.0) -> str:
    """Precision against recall, a normal row counting `weight` times, with the threshold and the share of anomalies."""
    weights = np.where(anomalous, 1.0, weight)
    figure, ax = _unit_square("recall", "precision")
    precision, recall, _ = metrics.precision_recall_curve(
        anomalous, scores, drop_intermediate=True, sample_weight=weights
    )
    average = metrics.average_precision_score(anomalous, scores, sample_weight=weights)
    flagged = scores > threshold
    ax.axhline(np.average(anomalous, weights=weights), color=FAINT, linewidth=1, label="chance")
    ax.step(recall, precision, where="post", color=NORMAL, linewidth=1.6, label=f"average {average:.3f}")
    if flagged.any():
        point = flagged[anomalous].mean(), np.average(anomalous[flagged], weights=weights[flagged])
        ax.plot(*point, "o", color=MARK, markersize=6, label="threshold")
    ax.legend(loc="lower right")
    return render(figure, "pr", f"Precision-recall curve with average precision {average:.3f}.")


def _unit_square(x: str, y: str) -> tuple[Figure, Axes]:
    figure, (ax,) = canvas(3.6)
    ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel=x, ylabel=y)
    return figure, ax


@STYLED
def column_bars(names: Sequence[str], shares: Sequence[float]) -> str:
    """Columns by their average share of what speaks against a record, strongest first."""
    figure, (ax,) = canvas(0.7 + 0.24 * len(names))
    places = np.arange(len(names))[::-1]
    ax.barh(places, 100 * np.array(shares), color=NORMAL, alpha=0.7, height=0.7)
    ax.set_yticks(places, [name if len(name) <= 24 else name[:23] + "…" for name in names])
    ax.grid(visible=False, axis="y")
    ax.set_xlabel("share of what speaks against a record, %")
    strongest = ", ".join(f"{name} {share:.0%}" for name, share in zip(names[:5], shares, strict=False))
    return render(figure, "columns", f"Bars of the columns that speak most against records: {strongest}.")


def plane(means: Floats) -> tuple[Floats, float]:
    """Latent means on their first two principal components, (n, 2), and the share of the variance that these carry."""
    centred = means - means.mean(axis=0)
    _, spread, axes = np.linalg.svd(centred, full_matrices=False)
    points = centred @ axes[:2].T
    if points.shape[1] < 2:
        points = np.column_stack([points, np.zeros(len(points))])
    return points, float((spread[:2] ** 2).sum() / max((spread**2).sum(), 1e-300))


@STYLED
def latent_plane(latent: Latent, threshold: float, seed: int = 0) -> str:
    """The latent means on their first two principal components: normal, flagged, and labelled anomalies."""
    figure, (ax,) = canvas(4.2)
    rng = np.random.default_rng(seed)
    pick = np.sort(rng.permutation(len(latent.means))[:POINTS])
    points, share = plane(latent.means)
    points = points[pick]
    # A few far points would press all others together: they stand on the edge of the frame.
    points = np.clip(points, *np.quantile(points, [0.005, 0.995], axis=0))
    labelled, flagged = latent.anomalous[pick], latent.scores[pick] > threshold
    groups = (
        ("normal, passed", ~labelled & ~flagged, NORMAL, "o", 7),
        ("normal, flagged" if labelled.any() else "flagged", ~labelled & flagged, MARK, "o", 12),
        ("anomaly, passed", labelled & ~flagged, STRANGE, "x", 14),
        ("anomaly, flagged", labelled & flagged, STRANGE, "o", 9),
    )
    for name, mask, colour, marker, size in groups:
        if mask.any():
            x, y = points[mask].T
            ax.scatter(x, y, s=size, color=colour, marker=marker, alpha=0.6, linewidths=0.8, label=name)
    ax.set(xlabel="first principal component", ylabel="second")
    ax.legend(loc="best")
    alt = f"Scatter of {len(pick)} records in the latent space, on two axes that carry {share:.0%} of its variance."
    return render(figure, "latent", alt)


@STYLED
def kl_bars(kl: Sequence[float], active: Sequence[int]) -> str:
    """KL of each latent dimension in nats, largest first, averaged over members that have `active` units."""
    figure, (ax,) = canvas(2.4)
    places = np.arange(1, len(kl) + 1)
    ax.bar(places, kl, color=NORMAL, alpha=0.7, width=0.7)
    ax.set(xlim=(0.4, len(kl) + 0.6), ylim=(0, max(*kl, ACTIVE) * 1.05))
    ax.set_xticks(places if len(kl) <= 12 else np.unique(np.linspace(1, len(kl), 8).round()))
    ax.grid(visible=False, axis="x")
    ax.set(xlabel="latent dimension, each member's largest first", ylabel="KL, nats")
    units = " and ".join(map(str, active))
    alt = f"Bars of the KL of {len(kl)} latent dimensions, {sum(kl):.3g} nats in all; {units} of them are active."
    return render(figure, "kl", alt)
