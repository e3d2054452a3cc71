"""Every model of `--model` on the same tables and pictures: what it detects, how it describes normal records, its cost.

Of tables, those of the folder `--data` that are named, split as `benchmarks.detection` does; of pictures, one digit of
MNIST against the others. A model is fitted once. Around it stand the default score `neighbours`, which also looks at
remembered records, and the network's own: the negative ELBO, or where there is none the reconstruction. Scores are
those in torch, which are the ones that are exported; CPU seconds are those of fit and score, the export aside. `cvae`,
which needs a column, is measured by `benchmarks.conditional`.

    python -m benchmarks.models --data DIR --tables NAME ... --mnist DIR [--digits 3 8] [--steps 900]
                                [--models vae] [--builds "" "depth = 4" "dropout = 0.1"]

With `--builds` each model is fitted with each of some further settings of `[fit]`, as a configuration file has them.

Prints Markdown.
"""

import argparse
import tempfile
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from benchmarks.image_sets import Picture, digits, one_digit
from benchmarks.machine import described
from benchmarks.markdown import number, table
from benchmarks.sets import frame, load
from kilter.service.detector.arrays import Mask, Matrix, Pixels
from kilter.service.detector.modalities import modality_of
from kilter.service.detector.networks import MODELS
from kilter.training.config import TrainConfig, read_config
from kilter.training.data.source import TrainingSource, silent
from kilter.training.evaluation.evidence import bound_rows
from kilter.training.fitting.model import fit_unexported, score_rows
from kilter.training.modality import modality_of_source, sharpness

DRAWS = 16  # by which the ELBO is taken
BOUNDED = 200  # most normal records on which it is


class Measured(NamedTuple):
    """A model on one split."""

    neighbours: float
    own: float
    elbo: float
    sharp: float
    cpu_s: float


def measured(source: TrainingSource, test: Any, anomalous: Mask, config: TrainConfig) -> Measured:
    """A model trained on a source, and tried on records of which some are anomalous."""
    training = modality_of_source(source)
    began = time.process_time()
    data = training.read(source, None, silent)
    unexported = fit_unexported(data, config)
    spent = time.process_time() - began
    modality = modality_of(unexported.schema)
    x: Matrix = np.concatenate([*modality.encode(modality.read(test))])
    network = unexported.module.network
    with torch.no_grad():
        parts = [network.see(rows) for rows in torch.split(torch.from_numpy(x), 256)]
        own = torch.cat([view.reconstruction + view.kl for view in parts]).double().numpy()
        normal = x[~anomalous][:BOUNDED]
        inputs, _, likelihood = network.infer(torch.from_numpy(normal))
        seen, made = network.target(inputs), network.center(likelihood)
    pictures = network.modality == "image"
    return Measured(
        float(roc_auc_score(anomalous, score_rows(unexported.module, x))),
        float(roc_auc_score(anomalous, own)),
        float(bound_rows(network, normal, DRAWS, 0).elbo.mean()) if network.has_elbo else np.nan,
        sharpness(network, made) / sharpness(network, seen) if pictures else np.nan,
        spent,
    )


def stacked(pictures: Sequence[Picture]) -> Pixels:
    """Pictures of one size, (n, height, width)."""
    return np.stack([np.asarray(picture) for picture in pictures])


def splits(options: argparse.Namespace, folder: Path) -> Iterator[tuple[str, str, TrainingSource, Any, Mask]]:
    """Modality, name, rows to train on, rows to judge, and which of these are anomalous."""
    for name in options.tables:
        sample = load(options.data, name, 0)
        yield "table", name, TrainingSource(frame=frame(sample.train)), frame(sample.test), sample.anomalous
    if options.mnist:
        images, labels = digits(options.mnist)
        for digit in options.digits:
            split = one_digit(images, labels, digit)
            place = folder / f"digit-{digit}.npy"
            np.save(place, stacked(split.train))
            yield "image", f"digit {digit}", TrainingSource((place,)), stacked(split.test), split.anomalous


def lines(found: Mapping[tuple[str, str], Sequence[Measured]], modality: str) -> Iterator[list[str]]:
    """A line for each model: means over the splits."""
    for (model, of), each in found.items():
        if of == modality:
            mean = Measured(*np.mean(each, axis=0).tolist())
            digits_of = (3, 3, 1, 2, 0)
            yield [model, *(number(value, places) for value, places in zip(mean, digits_of, strict=True))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--tables", nargs="+", default=[])
    parser.add_argument("--mnist", type=Path)
    parser.add_argument("--digits", type=int, nargs="+", default=[3, 8])
    parser.add_argument("--models", nargs="+", default=[name for name in MODELS if name != "cvae"])
    parser.add_argument("--builds", nargs="+", default=[""], metavar="TOML")
    parser.add_argument("--steps", type=int, default=900)
    options = parser.parse_args()
    found: dict[tuple[str, str], list[Measured]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for modality, name, source, test, anomalous in splits(options, Path(folder)):
            able = [model for model in options.models if modality in MODELS[model].networks]
            for model, build in product(able, options.builds):
                settings = {"model": model, "steps": options.steps, **tomllib.loads(build.replace(", ", "\n"))}
                one = measured(source, test, anomalous, read_config(None, device="cpu", fit=settings))
                label = f"{model}, {build}" if build else model
                found.setdefault((label, modality), []).append(one)
                print(f"<!-- {name}, {label}: {', '.join(f'{value:.4g}' for value in one)} -->", flush=True)
    heading = ["model", "AUROC, neighbours", "AUROC, network alone", "ELBO, nats", "sharpness", "CPU s to fit"]
    for modality, of in (("table", ", ".join(options.tables)), ("image", "digits of MNIST, one against the rest")):
        print(f"\n{of}\n\n{table(heading, lines(found, modality))}")
    print(f"\n{options.steps:,} steps. {described()}")


if __name__ == "__main__":
    main()
