"""Fits what makes synthetic records, by the kinds of records; see `detector.generation`."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from kilter.service.detector.arrays import Array, Floats
from kilter.service.detector.generation import PROGRAM
from kilter.service.detector.generation.fields import FieldCodes
from kilter.service.detector.generation.mixture import FACTORS, MEANS, WEIGHTS, MixtureShape
from kilter.service.detector.generation.unmasking import NUMBERS, ROWS_FITTED, UnmaskingShape
from kilter.service.detector.inputs import Table, take
from kilter.service.detector.manifest import GeneratorEntry
from kilter.service.detector.sketch import SIZE, row_hashes
from kilter.training.fitting.model import Fitted
from kilter.training.fitting.unmasking import export_unmasking, fit_unmasking

MOST_COMPONENTS = 128
ROWS_PER_COMPONENT = 20
RIDGE = 1e-4  # added to the variances of codes, which are of the order of 1


@dataclass(frozen=True)
class FittedGenerator:
    """The parts of an artifact by which synthetic records are made."""

    entry: GeneratorEntry
    tensors: dict[str, Array]
    programs: dict[str, bytes]


def fit_generator(fitted: Fitted, table: Table, seed: int) -> FittedGenerator:
    """The generator of a model, fitted to its fitting rows; the calibration rows tell when it fits no better."""
    parts = fitted.split
    return FITS[fitted.scorer.modality.name](fitted, take(table, parts.fit), take(table, parts.calibration), seed)


def fit_fields(fitted: Fitted, rows: Table, held_out: Table, seed: int) -> FittedGenerator:
    """The generator of records field by field."""
    fields = [FieldCodes.fit(column, rows.columns[column.name]) for column in fitted.schema.fields]
    coded, held = (
        torch.from_numpy(np.stack([field.encode(part.columns[field.column.name]) for field in fields], axis=1))
        for part in (rows, held_out)
    )
    network = fit_unmasking(fields, coded, held, seed)
    shape = UnmaskingShape(tuple(field.shape for field in fields))
    numbers = np.concatenate([field.numbers for field in fields])
    program = export_unmasking(network, shape)
    hashes = np.unique(row_hashes(fitted.scorer.figures(rows)))[:SIZE]
    entry = GeneratorEntry("unmasking", msgspec.to_builtins(shape))
    return FittedGenerator(entry, {NUMBERS: numbers, ROWS_FITTED: hashes}, {PROGRAM: program})


def fit_codes(fitted: Fitted, rows: Table, held_out: Table, seed: int) -> FittedGenerator:
    """The mixture of the codes of pictures, of as many Gaussians as are best for those that are held out."""
    network = fitted.module.network
    codes, held = (_codes(fitted, part) for part in (rows, held_out))
    best: GaussianMixture | None = None
    reached, components = -np.inf, 1
    while components <= min(MOST_COMPONENTS, max(1, len(codes) // ROWS_PER_COMPONENT)):
        mixture = GaussianMixture(components, reg_covar=RIDGE, random_state=seed % 2**32)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # one that is not quite there is as good for this
            mixture.fit(codes)
        likelihood = float(mixture.score(held))
        if likelihood <= reached:
            break
        best, reached, components = mixture, likelihood, 2 * components
    if best is None:
        raise ValueError(f"no mixture fits codes of {network.code_size} numbers")
    tensors = {WEIGHTS: best.weights_, MEANS: best.means_, FACTORS: np.linalg.cholesky(best.covariances_)}
    shape = MixtureShape(*best.means_.shape)
    return FittedGenerator(GeneratorEntry("mixture", msgspec.to_builtins(shape)), tensors, {})


def _codes(fitted: Fitted, table: Table) -> Floats:
    """The codes of the rows of a table, (n, size)."""
    parts = [fitted.scorer.program.run(x, ("code",))[0] for x in fitted.scorer.modality.encode(table)]
    codes: Floats = np.concatenate(parts)
    return codes


FITS: dict[str, Callable[[Fitted, Table, Table, int], FittedGenerator]] = {"table": fit_fields, "image": fit_codes}
"""What fits the generator of a modality."""
