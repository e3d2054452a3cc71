"""A matplotlib figure as SVG to stand inside a page: without outside addresses, in the colours of the page's CSS."""

import functools
import io
import re
from collections.abc import Callable
from html import escape
from typing import Any, ParamSpec

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

P = ParamSpec("P")
WIDTH = 4.8
"""Inches: about the width of a phone, where a figure is shown in its own size."""
# matplotlib draws in these exact colours; `render` puts the page's variables in their place.
INK, FAINT, NORMAL, STRANGE, MARK = "#010203", "#010204", "#010205", "#010206", "#010207"
VARIABLES = {INK: "--ink", FAINT: "--rule", NORMAL: "--normal", STRANGE: "--strange", MARK: "--mark"}
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "kilter",
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.frameon": False,
    "axes.axisbelow": True,
    "legend.fontsize": 8,
    "text.parse_math": False,
}


def styled(plot: Callable[P, str]) -> Callable[P, str]:
    """Draw a plot in the style of the report, whatever the caller's own matplotlib settings are."""

    @functools.wraps(plot)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> str:
        with mpl.rc_context(STYLE):
            return plot(*args, **kwargs)

    return drawn


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
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<!--.*?-->\n?", "", svg, flags=re.DOTALL)
    box = svg.split('viewBox="', 1)[1].split('"', 1)[0]
    svg = f'<svg viewBox="{box}" role="img" aria-label="{escape(alt)}">' + svg.split(">", 1)[1]
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = svg.replace("url(#", f"url(#{name}-").replace('xlink:href="#', f'href="#{name}-')
    svg = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font: \1px var(--sans, sans-serif)", svg)
    for colour, variable in VARIABLES.items():
        svg = svg.replace(colour, f"var({variable})")
    return svg
