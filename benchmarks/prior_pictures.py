"""Digits drawn from the prior: how many of them a classifier that was fitted to real digits recognises.

A model with a generator is trained on 9,000 digits of MNIST's test file. Pictures are made by the learned prior, by
N(0, I), and by one Gaussian that is fitted to the codes of the same digits. A perceptron of scikit-learn's, fitted to
the same 9,000, says of each how sure it is of a digit; 1,000 real digits that nothing was fitted to stand beside them.

    python -m benchmarks.prior_pictures --data DIR [--rows 9000] [--count 1000] [--steps 900]

DIR holds t10k-images-idx3-ubyte.gz and t10k-labels-idx1-ubyte.gz. Prints Markdown.
"""

import argparse
import gzip
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from sklearn.neural_network import MLPClassifier

from benchmarks.clock import timed
from benchmarks.machine import described
from benchmarks.markdown import number, table
from kilter.service.detector import Detector, load, store
from kilter.training.config import FitConfig, TrainConfig
from kilter.training.data.source import TrainingSource
from kilter.training.pipeline import learn

SURE = 0.8
HEAD = ("pictures", f"recognised above {SURE}", "mean certainty", "rarest digit", "commonest digit", "sharpness")
Pixels = npt.NDArray[np.uint8]


def digits(data: Path) -> tuple[Pixels, npt.NDArray[np.int64]]:
    """Pictures, (10,000, 28, 28), and which digit each is."""
    pictures = gzip.decompress((data / "t10k-images-idx3-ubyte.gz").read_bytes())
    labels = gzip.decompress((data / "t10k-labels-idx1-ubyte.gz").read_bytes())
    return (
        np.frombuffer(pictures, np.uint8, offset=16).reshape(-1, 28, 28),
        np.frombuffer(labels, np.uint8, offset=8).astype(np.int64),
    )


def trained(pictures: Pixels, steps: int, seed: int) -> Detector:
    """A model of ours with a generator, as it is loaded from disk."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "digits.npy"
        np.save(path, pictures)
        config = TrainConfig(seed=seed, target_fpr=0.05, baselines=False, generator=True, fit=FitConfig(steps=steps))
        made = learn(TrainingSource((path,)), config)
        return load(store.add(Path(folder), "digits", partial(made.files, "digits")))


def sharpness(pictures: Pixels) -> float:
    """The mean variance of the Laplacian."""
    p = pictures.astype(np.float64) / 255
    laplacian = p[:, :-2, 1:-1] + p[:, 2:, 1:-1] + p[:, 1:-1, :-2] + p[:, 1:-1, 2:] - 4 * p[:, 1:-1, 1:-1]
    return float(laplacian.var(axis=(1, 2)).mean())


def row(name: str, pictures: Pixels, classifier: MLPClassifier) -> list[str]:
    """A line of the report."""
    chances = classifier.predict_proba(pictures.reshape(len(pictures), -1) / 255)
    shares = np.bincount(chances.argmax(1), minlength=10) / len(pictures)
    figures = ((chances.max(1) > SURE).mean(), chances.max(1).mean(), shares.min(), shares.max(), sharpness(pictures))
    return [name, *(number(float(figure)) for figure in figures)]


def by_one_gaussian(model: Detector, pictures: Pixels, count: int, seed: int) -> Pixels:
    """Pictures of codes of a Gaussian with the mean and covariance of those of given pictures."""
    codes = model.encode(pictures[..., None])
    drawn = np.random.default_rng(seed).multivariate_normal(codes.mean(0), np.cov(codes, rowvar=False), count)
    made: Pixels = model.decode(drawn)
    return made


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    parser.add_argument("--rows", type=int, default=9000, help="digits to fit to [default: 9000]")
    parser.add_argument("--count", type=int, default=1000, help="pictures to make [default: 1000]")
    parser.add_argument("--steps", type=int, default=900, help="of the fit [default: 900]")
    parser.add_argument("--seed", type=int, default=0, help="[default: 0]")
    args = parser.parse_args()
    pictures, labels = digits(args.data)
    order = np.random.default_rng(args.seed).permutation(len(pictures))
    fit, rest = order[: args.rows], order[-1000:]
    classifier = MLPClassifier((256,), early_stopping=True, random_state=args.seed)
    classifier.fit(pictures[fit].reshape(len(fit), -1) / 255, labels[fit])
    model, cpu_s = timed(lambda: trained(pictures[fit], args.steps, args.seed))
    learned, standard = (
        model.generate(args.count, seed=args.seed, prior="learned")[..., 0],
        model.generate(args.count, seed=args.seed, prior="standard")[..., 0],
    )
    rows = [
        row("real, to which nothing was fitted", pictures[rest], classifier),
        row("learned prior", learned, classifier),
        row("N(0, I)", standard, classifier),
        row(
            "one Gaussian over the codes",
            by_one_gaussian(model, pictures[fit], args.count, args.seed)[..., 0],
            classifier,
        ),
    ]
    print(described(), "\n")
    print(f"{args.rows:,} digits, {args.steps:,} steps, {cpu_s:.0f} CPU s\n")
    print(table(HEAD, rows))


if __name__ == "__main__":
    main()
