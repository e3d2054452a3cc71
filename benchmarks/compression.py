"""Learned compression: the bits that a record's latent code takes, beside gzip, zstd and PCA at equal distortion.

A network is fitted to half of the normal rows of a table, and the other half is coded. Posterior means are rounded to
multiples of a step, and decoded; the distortion is the mean squared error of what comes back, in variances of the
columns. PCA, gzip and zstd each get the step at which their distortion is the same:

- code and PCA: the numbers, rounded, cost what a stated model of them says: -log2 of its probability, which an
  arithmetic coder takes but for a few bits in all. The model is a Gaussian for each number, fitted to the training
  half, with 1 % for one that is ten times as wide. PCA keeps all components; those that vary less than the step cost
  little.
- columns: the same, of the standardised values themselves.
- gzip (level 9), zstd (level 19): the standardised values, rounded, as 16-bit numbers, column by column, all records in
  one stream. They know no training rows; the others have the cost of their model beside them, in kB of float32: it is
  paid once for all records that are ever coded.

Whole numbers come back as whole numbers, by every way.

    python -m benchmarks.compression [--data ADBENCH --tables 6_cardio 28_pendigits] [--latent 4 16] [--seed 0]

Prints Markdown.
"""

import argparse
import gzip
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from scipy.stats import norm
from sklearn.datasets import load_breast_cancer, load_digits, load_wine

from benchmarks.machine import described
from benchmarks.markdown import number, table
from benchmarks.sets import Sample, divide, frame, load
from kilter.service.detector.modalities import modality_of
from kilter.training.config import FitConfig, TrainConfig
from kilter.training.data.source import TrainingSource
from kilter.training.data.tables import prepare
from kilter.training.fitting.model import fit_unexported

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Floats = npt.NDArray[np.float64]
Bits = Callable[[Floats, float], tuple[float, Floats]]
"""The bits a record of rows, (n, columns), with a step, and what comes back of them."""
STEPS = (2.0, 1.0, 0.5, 0.25)
WIDE, RARE = 10.0, 0.01
LARGEST = 32_767  # of a 16-bit number
HALVINGS = 40


class Split(NamedTuple):
    """Normal rows of a table, in units of the training half's standard deviations; constant columns are left out."""

    name: str
    train: Floats
    test: Floats
    centre: Floats
    scale: Floats
    whole: npt.NDArray[np.bool_]
    """The columns of whole numbers."""

    def written(self, values: Floats) -> Floats:
        """Values as they come back: whole where all are."""
        given = values * self.scale + self.centre
        return (np.where(self.whole, given.round(), given) - self.centre) / self.scale

    def distortion(self, values: Floats) -> float:
        """The mean squared error of what comes back of the test rows."""
        return float(np.square(values - self.test).mean())


def split_of(sample: Sample) -> Split:
    """The normal rows of a sample."""
    train, test = sample.train, sample.test[~sample.anomalous]
    varies = train.std(axis=0) > 0
    train, test = train[:, varies], test[:, varies]
    centre, scale = train.mean(axis=0), train.std(axis=0)
    whole = (train == train.round()).all(axis=0)
    return Split(sample.name, (train - centre) / scale, (test - centre) / scale, centre, scale, whole)


class Coder(NamedTuple):
    """The model by which rounded numbers are coded: a Gaussian for each, with a little for a wider one."""

    mean: Floats
    deviation: Floats

    @classmethod
    def fitted(cls, numbers: Floats) -> "Coder":
        """To numbers, (n, k)."""
        return cls(numbers.mean(axis=0), np.maximum(numbers.std(axis=0), 1e-9))

    def bits(self, rounded: Floats, step: float) -> float:
        """The bits of a row of numbers that are multiples of a step, (n, k), on average."""
        share = sum(
            weight
            * (
                norm.cdf((rounded + step / 2 - self.mean) / (width * self.deviation))
                - norm.cdf((rounded - step / 2 - self.mean) / (width * self.deviation))
            )
            for weight, width in ((1 - RARE, 1.0), (RARE, WIDE))
        )
        return float(-np.log2(np.maximum(share, 1e-30)).sum(axis=1).mean())


def rounded_to(numbers: Floats, step: float) -> Floats:
    """The nearest multiples of a step."""
    multiples: Floats = (numbers / step).round() * step
    return multiples


class Learned(NamedTuple):
    """A network as a code: what it encodes, how it decodes, and the numbers of its decoder."""

    train: Floats
    test: Floats
    decode: Callable[[Floats], Floats]
    numbers: int


def learn_code(split: Split, latent: int, seed: int) -> Learned:
    """Fit a network with so many latent dimensions to the training half."""
    given = split.train * split.scale + split.centre
    rows, test = (
        frame(np.where(split.whole, part.round(), part)) for part in (given, split.test * split.scale + split.centre)
    )
    source = TrainingSource(kinds=dict.fromkeys(rows.columns, "numeric"))
    config = TrainConfig(score="elbo", seed=seed, split="random", fit=FitConfig(members=1, latent=latent))
    fitted = fit_unexported(prepare(rows, source), config)
    network, modality = fitted.module.network, modality_of(fitted.schema)

    @torch.no_grad()
    def encode(part: Any) -> Floats:
        x = torch.from_numpy(np.concatenate([*modality.encode(modality.read(part))]))
        codes: Floats = network.code(x).double().numpy()
        return codes

    @torch.no_grad()
    def decode(codes: Floats) -> Floats:
        beside = np.zeros((len(codes), network.noise_size))
        expected, _ = network.decoded_rows(torch.from_numpy(np.concatenate([codes, beside], axis=1)).float())
        columns = modality.decode(expected.numpy()).columns
        values = np.stack([columns[name].astype(np.float64) for name in rows.columns], axis=1)
        return (values - split.centre) / split.scale

    numbers = sum(part.numel() for name, part in network.named_parameters() if "encoder" not in name)
    return Learned(encode(rows), encode(test), decode, numbers)


def by_components(split: Split) -> tuple[Bits, int]:
    """PCA of the training half as a code, and the numbers of its model."""
    _, _, axes = np.linalg.svd(split.train, full_matrices=False)
    coder = Coder.fitted(split.train @ axes.T)

    def bits(rows: Floats, step: float) -> tuple[float, Floats]:
        numbers = rounded_to(rows @ axes.T, step)
        return coder.bits(numbers, step), split.written(numbers @ axes)

    return bits, axes.size + 2 * len(axes)


def by_columns(split: Split) -> Bits:
    """The values themselves, each by its own model."""
    coder = Coder.fitted(split.train)

    def bits(rows: Floats, step: float) -> tuple[float, Floats]:
        numbers = rounded_to(rows, step)
        return coder.bits(numbers, step), split.written(numbers)

    return bits


def packed_by(pack: Callable[[bytes], bytes], split: Split) -> Bits:
    """The values as 16-bit numbers, column by column, in one stream."""

    def bits(rows: Floats, step: float) -> tuple[float, Floats]:
        steps = np.clip((rows / step).round(), -LARGEST, LARGEST)
        return 8 * len(pack(steps.T.astype("<i2").tobytes())) / len(rows), split.written(steps * step)

    return bits


def at_distortion(bits: Bits, split: Split, wanted: float) -> float:
    """The bits a record at the largest step that is found with a distortion of at most `wanted`."""
    low, high = np.log(1e-4), np.log(1e3)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if split.distortion(bits(split.test, float(np.exp(middle)))[1]) <= wanted:
            low = middle
        else:
            high = middle
    return bits(split.test, float(np.exp(low)))[0]


def measured(split: Split, latents: Sequence[int], seed: int) -> Iterator[list[str]]:
    """A row of the table for each step and number of latent dimensions."""
    components, size = by_components(split)
    others = [
        components,
        by_columns(split),
        packed_by(lambda content: gzip.compress(content, 9), split),
        packed_by(lambda content: zstd.compress(content, 19), split),
    ]
    for latent in latents:
        learned = learn_code(split, latent, seed)
        coder = Coder.fitted(learned.train)
        for step in STEPS:
            codes = rounded_to(learned.test, step)
            distortion = split.distortion(learned.decode(codes))
            peers = [at_distortion(bits, split, distortion) for bits in others]
            costs = [4e-3 * (learned.numbers + 2 * latent), 4e-3 * size]
            yield [
                split.name,
                str(latent),
                f"{step:g}",
                number(distortion),
                number(coder.bits(codes, step), 1),
                *(number(bits, 1) for bits in peers),
                *(number(cost, 1) for cost in costs),
            ]


def samples(folder: Path | None, tables: Sequence[str], seed: int) -> Iterator[Sample]:
    """Tables of scikit-learn, or of a folder of ADBench."""
    if folder is not None:
        yield from (load(folder, name, seed) for name in tables)
        return
    cancer, digits, wine = load_breast_cancer(), load_digits(), load_wine()
    yield divide("digits", digits.data, np.zeros(len(digits.data), bool), seed)
    yield divide("breast cancer, benign", cancer.data, cancer.target == 0, seed)
    yield divide("wine", wine.data, np.zeros(len(wine.data), bool), seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="A folder of ADBench's npz files.")
    parser.add_argument("--tables", nargs="+", default=[], help="Names in that folder, without their ending.")
    parser.add_argument("--latent", type=int, nargs="+", default=[4, 16])
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if (options.data is None) != (not options.tables):
        parser.error("tables of a folder are named by both --data and --tables")
    head = ["table", "latent", "step", "distortion", "code", "PCA", "columns", "gzip", "zstd", "kB code", "kB PCA"]
    rows = [
        row
        for sample in samples(options.data, options.tables, options.seed)
        for row in measured(split_of(sample), options.latent, options.seed)
    ]
    print(table(head, rows))
    print(f"\nBits a record at equal distortion; the last two are the cost of the models, once. {described()}")


if __name__ == "__main__":
    main()
