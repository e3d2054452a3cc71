"""A picture of detection set by set: ours among the peers."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt

from benchmarks.measurement import OURS, Measurement
from benchmarks.summary import by_table

MARKS = ("o", "s", "^", "v", "D", "P", "X", "<", ">")


def draw(methods: Mapping[str, Sequence[Measurement]], path: Path) -> None:
    """One row for each set, AUROC to the left and average precision to the right, sorted by ours; SVG or PNG."""
    first = next(iter(methods.values()))
    order = sorted(by_table(first, "auroc").items(), key=lambda item: item[1])
    places = {name: i for i, (name, _) in enumerate(order)}
    figure, axes = plt.subplots(1, 2, sharey=True, figsize=(10, 1.5 + 0.28 * len(places)), layout="constrained")
    colours = plt.get_cmap("tab10")
    for axis, field, title in zip(axes, ("auroc", "ap"), ("AUROC", "average precision"), strict=True):
        for i, (method, lines) in enumerate(reversed(list(methods.items()))):
            found = by_table(lines, field)
            known = [(value, places[name]) for name, value in found.items() if name in places]
            ours = method == OURS
            axis.plot(
                [x for x, _ in known],
                [y for _, y in known],
                "D" if ours else MARKS[i % len(MARKS)],
                color="black" if ours else colours(i % 10),
                markersize=7 if ours else 4.5,
                alpha=1.0 if ours else 0.75,
                label=method,
                zorder=3 if ours else 2,
            )
        axis.set_xlabel(title)
        axis.grid(axis="y", linewidth=0.4, alpha=0.5)
    axes[0].set_yticks(list(places.values()), list(places))
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles[::-1], labels[::-1], loc="outside upper center", ncols=5, frameon=False)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    plt.close(figure)
