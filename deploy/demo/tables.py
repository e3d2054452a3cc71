"""`make demo`: the whole way from a CSV to verdicts, on scikit-learn's breast-cancer data, with the commands shown.

Learns what benign biopsies look like from 70 % of them, then judges the others and all the malignant ones.
"""

import json
import shlex
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import pandas as pd
from sklearn.datasets import load_breast_cancer

KILTER = str(Path(sys.executable).with_name("kilter"))
METRICS = ("kilter_records_total", "kilter_target_fpr", "kilter_expected_anomaly_ratio_upper")
START_SECONDS = 60
SHOWN = 20  # malignant records whose nearest normals are asked for


def write_data(folder: Path) -> tuple[Path, Path]:
    """Write training.csv (benign rows alone) and new.csv (the rest, with the diagnosis) to a folder."""
    data = load_breast_cancer(as_frame=True)
    frame = data.frame.rename(columns=lambda name: name.replace(" ", "_"))
    frame["diagnosis"] = [data.target_names[i] for i in frame.pop("target")]
    benign = frame[frame.diagnosis == "benign"].sample(frac=1, random_state=0)
    fitted = benign.iloc[: round(0.7 * len(benign))]
    folder.mkdir(parents=True, exist_ok=True)
    training, new = folder / "training.csv", folder / "new.csv"
    fitted.drop(columns="diagnosis").to_csv(training, index=False)
    frame.drop(fitted.index).sample(frac=1, random_state=0).to_csv(new, index=False)
    return training, new


def run(*arguments: str, ok: tuple[int, ...] = (0,)) -> None:
    """Show a kilter command and run it; end the demo if it fails."""
    click.secho(f"\n$ kilter {shlex.join(arguments)}", bold=True)
    done = subprocess.run([KILTER, *arguments], check=False)  # noqa: S603
    if done.returncode not in ok:
        raise SystemExit(f"the demo failed: exit status {done.returncode}")


@contextmanager
def serving(models: Path) -> Iterator[str]:
    """Serve a folder of models on a free port of this machine; yields the address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    arguments = ["serve", "--models", str(models), "--port", str(port)]
    click.secho(f"\n$ kilter {shlex.join(arguments)} &", bold=True)
    process = subprocess.Popen([KILTER, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + START_SECONDS
        while not ready(address):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit("the demo failed: the service did not start")
            time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        process.wait(30)


def ready(address: str) -> bool:
    """Whether the service answers that it is ready."""
    try:
        fetch(f"{address}/readyz")
    except (urllib.error.URLError, ConnectionError):
        return False
    return True


def fetch(url: str, body: Any = None, kind: str = "application/json") -> bytes:
    """GET a URL, or POST to it: bytes as they are, anything else as JSON."""
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": kind})  # noqa: S310
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
        content: bytes = answer.read()
    return content


def metrics(address: str) -> dict[str, float]:
    """The samples of the metrics that the demo shows."""
    lines = fetch(f"{address}/metrics").decode().splitlines()
    samples = (line.rsplit(" ", 1) for line in lines if line.startswith(METRICS))
    return {name: float(value) for name, value in samples}


def over_http(address: str, new: pd.DataFrame) -> None:
    """POST one benign and one malignant record, and show the verdicts and the metrics that changed."""
    before = metrics(address)
    rows = [new[new.diagnosis == kind].iloc[0] for kind in ("benign", "malignant")]
    records = [row.drop("diagnosis").to_dict() for row in rows]
    click.secho("\n$ curl .../v1/models/biopsies/score?reasons=3   # one benign and one malignant record", bold=True)
    answer = json.loads(fetch(f"{address}/v1/models/biopsies/score?reasons=3", {"records": records}))
    click.echo(json.dumps({**answer, "results": "[...]"}))
    for row, verdict in zip(rows, answer["results"], strict=True):
        click.echo(f"{row.diagnosis}: {json.dumps(verdict, indent=1)}")
    click.secho(f"\n$ curl {address}/metrics   # what changed", bold=True)
    for name, value in metrics(address).items():
        if value != before.get(name):
            click.echo(f"{name} {before.get(name, 0):g} -> {value:g}")


def show_nearest_normal(address: str, new: pd.DataFrame) -> None:
    """POST some malignant records, and say of the one that needs the fewest changes what would make it normal."""
    click.secho("\n$ curl .../v1/models/biopsies/score?nearest_normal=true   # some malignant records", bold=True)
    records = new[new.diagnosis == "malignant"].drop(columns="diagnosis").head(SHOWN).to_dict("records")
    answer = json.loads(fetch(f"{address}/v1/models/biopsies/score?nearest_normal=true", {"records": records}))
    normals = [result["nearest_normal"] for result in answer["results"] if result["anomaly"]]
    nearest = min((one for one in normals if one["normal"]), key=lambda one: len(one["changes"]))
    changes = ", ".join(f"{one['field']} {one['to']:g} instead of {one['from']:g}" for one in nearest["changes"])
    click.echo(f"One would be normal (p {nearest['p_value']:.3g}) with {changes}")


def show_generated(model: Path, out: Path) -> None:
    """Make a record like the benign ones, and show it."""
    run("generate", str(model), "-n", "1", "--seed", "0", "-o", str(out), "--force")
    click.echo(out.read_text().strip())


def summary(scored: Path) -> None:
    """Hold the verdicts of a scored file against the diagnosis that the model never saw."""
    frame = pd.read_csv(scored)
    table = frame.groupby("diagnosis")["kilter_anomaly"].agg(["size", "sum"])
    click.echo("\nBy the diagnosis, which the model never saw:")
    for diagnosis, row in table.iterrows():
        click.echo(f"  {diagnosis}: {row['sum']} of {row['size']} flagged ({row['sum'] / row['size']:.1%})")
    worst = frame.nlargest(1, "kilter_score").iloc[0]
    click.echo(f"The strangest: score {worst.kilter_score:.4g}, p {worst.kilter_p_value:.3g}, {worst.kilter_reasons}")


@click.command()
@click.option("--folder", type=click.Path(path_type=Path), default=Path("demo"), show_default=True)
def demo(folder: Path) -> None:
    """Train, serve and score on a real data set."""
    started = time.monotonic()
    training, new = write_data(folder)
    models, scored = folder / "models", folder / "scored.csv"
    run("train", str(training), "--name", "biopsies", "--models", str(models), "--target-fpr", "0.05", "--generator")
    with serving(models) as address:
        over_http(address, pd.read_csv(new))
        show_nearest_normal(address, pd.read_csv(new))
    run("score", str(models / "biopsies"), str(new), "-o", str(scored), "--force")
    summary(scored)
    show_generated(models / "biopsies", folder / "generated.ndjson")
    click.echo(f"\nDone in {time.monotonic() - started:.0f} s. See {models / 'biopsies'}/*/report.html and {scored}.")


if __name__ == "__main__":
    demo()
