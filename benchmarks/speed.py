"""How fast does a model score in the serving runtime, on one core?

A table of 30 correlated columns is made up, large enough that everything a model can hold is full, and fitted by
Kilter's own path with its defaults. Measured in CPU microseconds: encoded rows to scores, in batches of 1,024 and one
row alone; and the whole way from one record, a dict, to its verdict. Beside it, since machines differ, a plain small
VAE of as many columns in the same runtime: its squared error and KL, without likelihoods, reasons or a memory.

    python -m benchmarks.speed --columns 30 --rows 20000

Prints a table in Markdown.
"""

import argparse
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from benchmarks import ours
from benchmarks.clock import Speed, speed, timed
from benchmarks.figures import Floats
from benchmarks.machine import described
from benchmarks.markdown import number, table
from benchmarks.pool import spread
from benchmarks.servers.verdict import onnx_score
from benchmarks.sets import frame
from kilter.training.config import read_config
from kilter.training.fitting.programs import trace

RECORDS = 200
HIDDEN, LATENT = 64, 8


class Task(NamedTuple):
    """A table's size, and the settings if they are not the defaults."""

    rows: int
    columns: int
    config: Path | None


class Found(NamedTuple):
    """What was measured."""

    fit_cpu_s: float
    runtime: Speed
    record_us: float
    """Median of one record, from a dict to its verdict."""
    plain: Speed
    """Of a plain small VAE."""


class PlainVAE(nn.Module):
    """Two hidden layers on either side of the latent space."""

    def __init__(self, columns: int) -> None:
        super().__init__()
        self.encoder, self.decoder = (
            nn.Sequential(nn.Linear(a, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, b))
            for a, b in ((columns, 2 * LATENT), (LATENT, columns))
        )

    def forward(self, x: Tensor) -> Tensor:
        """Squared error and KL of rows, (n, columns): (n,)."""
        mean, log_variance = self.encoder(x).chunk(2, dim=1)
        kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1)
        found: Tensor = (x - self.decoder(mean)).square().sum(1) + kl
        return found


def plain(x: npt.NDArray[np.float32]) -> Speed:
    """How fast a plain small VAE of these columns is, under ONNX Runtime on one thread."""
    model = trace(PlainVAE(x.shape[1]), {"x": torch.zeros(2, x.shape[1])}, ("score",))
    return speed(onnx_score(model.SerializeToString()), x)


def made_up(rows: int, columns: int) -> Floats:
    """Rows whose columns follow a few hidden causes, bent and noisy."""
    rng = np.random.default_rng(0)
    causes = rng.normal(size=(rows, 6)) @ rng.normal(size=(6, columns))
    return np.asarray(np.tanh(causes) + 0.5 * causes + 0.1 * rng.normal(size=(rows, columns)), np.float64)


def measure(task: Task) -> Found:
    """Fit, then score."""
    ours.warm_up()
    x = made_up(task.rows, task.columns)
    model = ours.fit(frame(x), read_config(task.config, device="cpu"))
    records = [{f"x{i}": float(value) for i, value in enumerate(row)} for row in x[:RECORDS]]

    def judge(record: dict[str, float]) -> None:
        model.calibration.anomalies(model.scorer.score([record]).score)

    seconds = [timed(partial(judge, record))[1] for record in records]
    encoded = model.encoded(frame(x[:1024]))
    record_us = 1e6 * float(np.median(seconds[10:]))
    return Found(model.fit_cpu_s, speed(model.runtime(), encoded), record_us, plain(encoded))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000, help="[default: 20000]")
    parser.add_argument("--columns", type=int, nargs="+", default=[30], help="[default: 30]")
    parser.add_argument("--config", type=Path, metavar="FILE.toml", help="settings for Kilter other than its defaults")
    args = parser.parse_args()
    found = dict(spread(measure, [Task(args.rows, columns, args.config) for columns in args.columns], 1))
    rows = [
        [
            f"{task.columns}",
            number(f.fit_cpu_s, 1),
            number(f.runtime.batch_us, 2),
            number(f.runtime.record_us, 1),
            number(f.record_us, 0),
            number(f.plain.batch_us, 2),
            number(f.plain.record_us, 1),
        ]
        for task, f in found.items()
    ]
    head = (
        "columns",
        "CPU s to fit",
        "µs/row of 1,024",
        "µs for one",
        "µs from a dict to its verdict",
        "plain VAE, µs/row of 1,024",
        "plain VAE, µs for one",
    )
    print("\n\n".join([f"# Speed, {args.rows:,} rows fitted", described(), table(head, rows)]))


if __name__ == "__main__":
    main()
