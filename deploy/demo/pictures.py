"""`make demo IMAGES=1`: the whole way from a folder of pictures to verdicts with heat maps, on scikit-learn's digits.

Learns what a zero looks like from 70 % of the zeros, then judges the others and the pictures of all other digits.
"""

import json
import shutil
import time
from pathlib import Path

import click
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from PIL import Image
from sklearn.datasets import load_digits

from deploy.demo.tables import fetch, run, serving

NAME = "zeros"
NORMAL = 0
RATE = "0.05"


def write_data(folder: Path) -> tuple[Path, Path]:
    """Write zeros alone into one folder, and the rest, by digit, into subfolders of another, as PNG."""
    data = load_digits()
    zeros = np.random.default_rng(0).permutation(np.flatnonzero(data.target == NORMAL))
    fitted = set(zeros[: round(0.7 * len(zeros))].tolist())
    training, new = folder / "zeros", folder / "digits"
    for place in (training, new):
        shutil.rmtree(place, ignore_errors=True)
    for i, (picture, digit) in enumerate(zip(data.images, data.target, strict=True)):
        place = training if i in fitted else new / str(digit)
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray((picture * (255 / 16)).round().astype(np.uint8)).save(place / f"{i:04d}.png")
    return training, new


def over_http(address: str, new: Path) -> None:
    """POST a zero and an eight, each as the file that it is, and show the verdicts."""
    for digit in ("0", "8"):
        path = sorted((new / digit).iterdir())[0]
        click.secho(f"\n$ curl .../v1/models/{NAME}/score?reasons=2 --data-binary @{path}", bold=True)
        answer = fetch(f"{address}/v1/models/{NAME}/score?reasons=2", path.read_bytes(), "image/png")
        click.echo(json.dumps({**json.loads(answer), "model": "..."}))


def summary(scored: pd.DataFrame) -> None:
    """Hold the verdicts against the digits, which the model never saw."""
    click.echo("\nBy the digit, which the model never saw:")
    for digit, row in scored.groupby("digit")["kilter_anomaly"].agg(["size", "sum"]).iterrows():
        click.echo(f"  {digit}: {row['sum']} of {row['size']} flagged ({row['sum'] / row['size']:.1%})")


def draw(scored: pd.DataFrame, new: Path, heatmaps: Path, out: Path) -> None:
    """A picture of each digit, the one with the middle score, above its heat map."""
    figure = Figure(figsize=(10, 2.5), layout="constrained")
    axes = figure.subplots(2, 10)
    for column, (digit, rows) in zip(axes.T, scored.groupby("digit"), strict=True):
        row = rows.sort_values("kilter_score").iloc[len(rows) // 2]
        for ax, path in zip(column, (new / row.picture, heatmaps / row.picture), strict=True):
            ax.imshow(np.asarray(Image.open(path).convert("RGB")))
            ax.set_axis_off()
        verdict = "flagged" if row.kilter_anomaly else "passed"
        column[0].set_title(f"{digit}: {verdict}\nscore {row.kilter_score:.2f}", fontsize=9)
    figure.savefig(out, dpi=120)


@click.command()
@click.option("--folder", type=click.Path(path_type=Path), default=Path("demo"), show_default=True)
def demo(folder: Path) -> None:
    """Train, serve and score on pictures."""
    started = time.monotonic()
    training, new = write_data(folder)
    models, out, heatmaps = folder / "models", folder / "digits.csv", folder / "heatmaps"
    run("train", str(training), "--name", NAME, "--models", str(models), "--target-fpr", RATE)
    with serving(models) as address:
        over_http(address, new)
    run("score", str(models / NAME), str(new), "-o", str(out), "--heatmaps", str(heatmaps), "--force")
    scored = pd.read_csv(out)
    scored["digit"] = scored["picture"].str.split("/").str[0]
    summary(scored)
    draw(scored, new, heatmaps, folder / "digits.png")
    click.echo(
        f"\nDone in {time.monotonic() - started:.0f} s. See {folder / 'digits.png'} and {models / NAME}/*/report.html."
    )


if __name__ == "__main__":
    demo()
