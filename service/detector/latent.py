"""The latent space of a model: records to codes, and codes to records, by its programs `encode` and `decode`."""

from typing import Any

import numpy as np

from kilter.service.detector.arrays import Floats, Matrix
from kilter.service.detector.errors import ArtifactError, KilterError
from kilter.service.detector.inputs import Table, cut, join
from kilter.service.detector.manifest import NetworkEntry
from kilter.service.detector.modalities.base import Modality
from kilter.service.detector.runtime import Program

DECIMALS = 6  # of the numbers of a code, whose prior is N(0, 1)
FARTHEST = 1e6  # a code's largest number: beyond, a float32 overflows on its way through a decoder
FLOATS = 1 << 22  # most features that are decoded at once


class LatentSpace:
    """Codes: of a table the posterior means of all members side by side; of a picture also its light."""

    def __init__(self, modality: Modality, program: Program, network: NetworkEntry, model: str) -> None:
        """`model` is what messages call the model."""
        self.size = network.code
        self.beside = network.code - network.members * network.latent if network.code else 0
        """How many numbers of a code, its last ones, are not in the latent space: the light of a picture."""
        self._noise = network.noise
        self._standard = network.standard_prior
        self.modality = modality
        self._program = program
        self.model = model

    def check(self) -> None:
        """Raise KilterError if the model has no latent space."""
        if not self.size:
            raise KilterError(
                f"{self.model} was trained by a version of Kilter that kept no encoder and decoder for this: train it "
                "again"
            )

    @property
    def draws(self) -> bool:
        """Whether values can be drawn."""
        return self._noise > 0

    def check_draws(self) -> None:
        """Raise KilterError if values cannot be drawn."""
        if not self.draws:
            raise KilterError(f"the network of {self.model} cannot draw values: leave the seed out")

    def check_prior(self) -> None:
        """Raise KilterError if codes cannot be drawn from N(0, I)."""
        self.check()
        if not self._standard:
            raise KilterError(
                f"the codes of {self.model} are not held to N(0, I): take the prior learned, of a model that was "
                "trained with --generator"
            )

    def encode(self, table: Table) -> Floats:
        """The codes of the records of a table, (n, size)."""
        self.check()
        parts = [self._program.run(x, ("code",))[0] for x in self.modality.encode(table)]
        codes: Floats = np.concatenate(parts).round(DECIMALS)
        return codes

    def decode(self, codes: Floats, rng: np.random.Generator | None = None) -> Table:
        """The records of codes, (n, size), as they are expected or, with a generator, as drawn from the likelihood."""
        if rng is not None:
            self.check_draws()
        step = max(1, FLOATS // self.modality.schema.width)
        parts = (codes[start : start + step].astype(np.float32) for start in range(0, max(1, len(codes)), step))
        return join([self.modality.decode(self._features(part, rng)) for part in parts])

    def reconstruct(self, table: Table, rng: np.random.Generator | None = None, change: Floats | None = None) -> Table:
        """The records of the codes of the records of a table, with a `change`, (size,), added to every code.

        Fields that the network does not see stay as they are. Raises KilterError for a change that leads too far.
        """
        codes = self.encode(table)
        made = self.decode(codes if change is None else self.read(codes + change), rng)
        aside = {column.name: table.columns[column.name] for column in self.modality.schema.aside}
        return made._replace(columns={**made.columns, **aside})

    def walk(self, table: Table, change: Floats, steps: int, rng: np.random.Generator | None = None) -> Table:
        """The one record of a table as it is seen, and on the way that a `change` of its code leads: so many records.

        Fields that the network does not see stay as they are. Raises KilterError for a change that leads too far.
        """
        [start] = self.encode(table)
        [end] = self.read(start + change)
        made = self.decode(between(start, end, steps), rng)
        aside = {
            name: np.repeat(table.columns[name], steps) for name in (one.name for one in self.modality.schema.aside)
        }
        return made._replace(columns={**made.columns, **aside})

    def read(self, codes: Any) -> Floats:
        """Codes as a matrix, (n, size). Raises KilterError, which names the row, for what is none."""
        self.check()
        try:
            matrix = np.atleast_2d(np.asarray(codes, np.float64))
        except (TypeError, ValueError):
            raise KilterError(f"codes are rows of {self.size} numbers, all of that length") from None
        if matrix.ndim != 2 or matrix.shape[1] != self.size:
            shape = " x ".join(map(str, matrix.shape))
            raise KilterError(f"a code of {self.model} has {self.size} numbers, and these are {shape}")
        wrong = np.flatnonzero(~(np.abs(matrix) <= FARTHEST).all(axis=1))
        if len(wrong):
            raise KilterError(f"code {wrong[0]} holds a number that is missing, or beyond ±{FARTHEST:,.0f}")
        return matrix

    def audit(self, table: Table) -> None:
        """Raise ArtifactError if the programs do not fit the manifest, tried on a record."""
        x = next(iter(self.modality.encode(cut(table, 0, 1))))
        code = self._program.run(x, ("code",))[0]
        if code.shape[1] != self.size:
            raise ArtifactError(f"a code has {self.size} numbers, and the program 'encode' gives {code.shape[1]}")
        try:
            decoded = self._features(code.astype(np.float32), None)
        except Exception as error:  # ONNX Runtime's own exceptions have no common base that it exports
            numbers = f"{self.size} numbers and {self._noise} of noise"
            raise ArtifactError(f"the program 'decode' cannot be run on codes of {numbers}: {error}") from None
        if decoded.shape != x.shape:
            width = decoded.shape[1]
            raise ArtifactError(f"a record has {x.shape[1]} features, and the program 'decode' gives {width}")

    def _features(self, codes: Matrix, rng: np.random.Generator | None) -> Matrix:
        noise = np.zeros((len(codes), self._noise), np.float32)
        if rng is not None:
            noise = rng.standard_normal(noise.shape, np.float32)
        name = "decoded" if rng is None else "drawn"
        return self._program.run(np.concatenate([codes, noise], axis=1), (name,))[0].astype(np.float32)


def between(first: Floats, last: Floats, steps: int) -> Floats:
    """So many codes on the straight line from one code, (size,), to another, both included: (steps, size)."""
    share = np.linspace(0.0, 1.0, steps)[:, None]
    codes: Floats = ((1 - share) * first + share * last).round(DECIMALS)
    return codes


class Slope:
    """How codes change with a value: their least-squares slope, times the value's standard deviation.

    Where the value is a group, 0 or 1, `difference` is the mean code of the one less that of the other.
    """

    def __init__(self, size: int) -> None:
        self._rows = 0
        self._value = self._square = 0.0
        self._codes, self._product = np.zeros(size), np.zeros(size)

    def add(self, codes: Floats, values: Floats) -> None:
        """Take in codes, (n, size), with their values, (n,)."""
        self._rows += len(codes)
        self._value += float(values.sum())
        self._square += float(values @ values)
        self._codes += codes.sum(axis=0)
        self._product += values @ codes

    @property
    def deviation(self) -> float:
        """The value's standard deviation; 0 while there are no two values."""
        rows = max(self._rows, 1)
        return float(np.sqrt(max(self._square / rows - (self._value / rows) ** 2, 0.0)))

    def per_deviation(self) -> Floats:
        """The change of a code with a standard deviation more of the value, (size,)."""
        covariance = self._product / self._rows - self._codes / self._rows * (self._value / self._rows)
        change: Floats = covariance / self.deviation
        return change

    def difference(self) -> Floats:
        """The mean code of the group 1 less that of the group 0, (size,)."""
        change: Floats = self._product / self._value - (self._codes - self._product) / (self._rows - self._value)
        return change

    def direction(self, *, grouped: bool) -> Floats:
        """The difference of two groups, or the change with a deviation, (size,). Raises KilterError for neither."""
        if self.deviation > 0:
            return self.difference() if grouped else self.per_deviation()
        raise KilterError("there is no direction where all known values are the same: give records with others")


def generator_of(seed: int | None) -> np.random.Generator | None:
    """What values are drawn by; None where they are as expected."""
    return None if seed is None else np.random.default_rng(seed)
