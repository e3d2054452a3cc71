"""Digits drawn from the prior, and on the way from one to another: how many a classifier of real digits recognises.

Each model, with a generator, is trained on 9,000 digits of MNIST's test file. Pictures are made by the learned prior,
by N(0, I) where that is the model's, and by one Gaussian that is fitted to the codes of the digits. A convolutional
classifier, fitted to the same 9,000, says of each how sure it is of a digit; 1,000 real digits that nothing was fitted
to stand beside them, and so do their reconstructions. Of pairs of these of one digit it is told how many are
recognised as that digit, above 0.5, at each of ten steps from the code of one to that of the other.

    python -m benchmarks.prior_pictures --data DIR [--models vae ae ...] [--rows 9000] [--count 1000] [--steps 900]

DIR holds t10k-images-idx3-ubyte.gz and t10k-labels-idx1-ubyte.gz. Prints Markdown.
"""

import argparse
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from benchmarks.clock import timed
from benchmarks.image_sets import digits
from benchmarks.machine import described
from benchmarks.markdown import number, table
from kilter.service.detector import Detector, load, store
from kilter.service.detector.networks import MODELS, network_class
from kilter.training.config import FitConfig, TrainConfig
from kilter.training.data.source import TrainingSource
from kilter.training.pipeline import learn

SURE = 0.8
SEEN = 0.5  # how sure the classifier is at each step of a way
PAIRS, STEPS = 20, 10  # of each digit, and from one picture to the other
HEAD = ("pictures", f"recognised above {SURE}", "mean certainty", "rarest digit", "commonest digit", "sharpness")
Pixels = npt.NDArray[np.uint8]
Chances = npt.NDArray[np.float64]


class Classifier:
    """A convolutional network that tells digits apart, fitted to pictures, (n, 28, 28), and what they show, (n,)."""

    def __init__(self, pictures: Pixels, labels: npt.NDArray[np.int64], seed: int, epochs: int = 8) -> None:
        torch.manual_seed(seed)
        layers = [nn.Conv2d(1, 16, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3), nn.ReLU(), nn.MaxPool2d(2)]
        self.network = nn.Sequential(*layers, nn.Flatten(), nn.Linear(800, 128), nn.ReLU(), nn.Linear(128, 10))
        x, y = self.inputs(pictures), torch.from_numpy(labels).long()
        optimiser = torch.optim.Adam(self.network.parameters(), 1e-3)
        for _ in range(epochs):
            for rows in torch.split(torch.randperm(len(x)), 64):
                loss = nn.functional.cross_entropy(self.network(x[rows]), y[rows])
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()

    def inputs(self, pictures: Pixels) -> torch.Tensor:
        return torch.from_numpy(pictures[:, None] / np.float32(255))

    @torch.no_grad()
    def chances(self, pictures: Pixels) -> Chances:
        """How likely each digit is, (n, 10)."""
        chances: Chances = self.network(self.inputs(pictures)).double().softmax(1).numpy()
        return chances


def trained(pictures: Pixels, model: str, steps: int, seed: int) -> Detector:
    """A model of ours with a generator, as it is loaded from disk."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "digits.npy"
        np.save(path, pictures)
        fit = FitConfig(model=model, steps=steps)
        config = TrainConfig(seed=seed, target_fpr=0.05, baselines=False, generator=True, fit=fit)
        made = learn(TrainingSource((path,)), config)
        return load(store.add(Path(folder), "digits", partial(made.files, "digits")))


def sharpness(pictures: Pixels) -> float:
    """The mean variance of the Laplacian."""
    p = pictures.astype(np.float64) / 255
    laplacian = p[:, :-2, 1:-1] + p[:, 2:, 1:-1] + p[:, 1:-1, :-2] + p[:, 1:-1, 2:] - 4 * p[:, 1:-1, 1:-1]
    return float(laplacian.var(axis=(1, 2)).mean())


def row(name: str, pictures: Pixels, classifier: Classifier) -> list[str]:
    """A line of the report."""
    chances = classifier.chances(pictures)
    shares = np.bincount(chances.argmax(1), minlength=10) / len(pictures)
    figures = ((chances.max(1) > SURE).mean(), chances.max(1).mean(), shares.min(), shares.max(), sharpness(pictures))
    return [name, *(number(float(figure)) for figure in figures)]


def by_one_gaussian(model: Detector, pictures: Pixels, count: int, seed: int) -> Pixels:
    """Pictures of codes of a Gaussian with the mean and covariance of those of given pictures."""
    codes = model.encode(pictures[..., None])
    drawn = np.random.default_rng(seed).multivariate_normal(codes.mean(0), np.cov(codes, rowvar=False), count)
    made: Pixels = model.decode(drawn)
    return made


def recognised_ways(model: Detector, pictures: Pixels, labels: npt.NDArray[np.int64], classifier: Classifier) -> float:
    """The share of pairs of pictures of one digit that are recognised as it all the way from one code to the other."""
    held = []
    for digit in range(10):
        codes = model.encode(pictures[labels == digit][: 2 * PAIRS, ..., None])
        first, last = codes[: len(codes) // 2], codes[len(codes) // 2 : len(codes) // 2 * 2]
        ways = [model.decode(first + (last - first) * step / STEPS) for step in range(STEPS + 1)]
        chances = [classifier.chances(way[..., 0])[:, digit] for way in ways]
        held += [*(np.min(chances, axis=0) > SEEN)]
    return float(np.mean(held))


def rows_of(model: Detector, name: str, fit: Pixels, rest: Pixels, classifier: Classifier, args: Any) -> list[Any]:
    """The lines of a model."""
    made = {"reconstructions of real ones": model.decode(model.encode(rest[..., None]))}
    made["learned prior"] = model.generate(args.count, seed=args.seed, prior="learned")
    if network_class(MODELS[name].networks["image"]).standard_prior:
        made["N(0, I)"] = model.generate(args.count, seed=args.seed, prior="standard")
    made["one Gaussian over the codes"] = by_one_gaussian(model, fit, args.count, args.seed)
    return [row(f"`{name}`, {of}", pictures[..., 0], classifier) for of, pictures in made.items()]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    parser.add_argument("--models", nargs="+", default=["vae", "vae-gan", "binary-vae", "vq-vae", "ae"])
    parser.add_argument("--rows", type=int, default=9000, help="digits to fit to [default: 9000]")
    parser.add_argument("--count", type=int, default=1000, help="pictures to make [default: 1000]")
    parser.add_argument("--steps", type=int, default=900, help="of the fit [default: 900]")
    parser.add_argument("--seed", type=int, default=0, help="[default: 0]")
    args = parser.parse_args()
    pictures, labels = digits(args.data)
    order = np.random.default_rng(args.seed).permutation(len(pictures))
    fit, rest = order[: args.rows], order[-1000:]
    torch.set_num_threads(1)
    classifier = Classifier(pictures[fit], labels[fit], args.seed)
    rows = [row("real, to which nothing was fitted", pictures[rest], classifier)]
    ways = []
    for name in args.models:
        model, cpu_s = timed(partial(trained, pictures[fit], name, args.steps, args.seed))
        rows += rows_of(model, name, pictures[fit], pictures[rest], classifier, args)
        ways.append(
            [f"`{name}`", number(recognised_ways(model, pictures[rest], labels[rest], classifier)), f"{cpu_s:.0f}"]
        )
        print(f"<!-- {name} is done -->", flush=True)
    print(described(), "\n")
    print(f"{args.rows:,} digits, {args.steps:,} steps\n")
    print(table(HEAD, rows))
    print(f"\n{table(('model', f'pairs recognised above {SEEN} all the way', 'CPU s to train'), ways)}")


if __name__ == "__main__":
    main()
