"""Which detector tells normal rows of a table best from others: by cross-validation on the fitting rows alone."""

from typing import NamedTuple

import numpy as np

from kilter.service.detector.arrays import Floats, Mask, Matrix, Positions
from kilter.service.detector.columns import Feature
from kilter.service.detector.errors import KilterError
from kilter.service.detector.findings import DetectorChoice, DetectorTrial, Separation
from kilter.service.detector.inputs import take
from kilter.service.detector.modalities import modality_of
from kilter.service.detector.runtime import pick_device
from kilter.service.detector.schema import Schema
from kilter.service.detector.scores import VAE, detector_names, kind_of_score
from kilter.training.config import TrainConfig, with_detector
from kilter.training.data.source import TrainingData
from kilter.training.evaluation.baselines import LEAST_GAIN, swapped
from kilter.training.evaluation.evaluate import Ranking
from kilter.training.fitting.diagnosis import fit_or_remedy
from kilter.training.fitting.fit import folds
from kilter.training.fitting.model import divide, score_around, score_rows

FOLDS = 5
MOST_ROWS = 2_000  # most rows of a fold that are judged
SWAPPED = 0.1  # the share of its fields that a swapped row has from another one
SPREADS = (0.25, 0.5, 1.0, 2.0)  # of displaced rows, in standard deviations of each column


class Trial(NamedTuple):
    """A fold: rows that no detector saw, and others that were made of them."""

    seen: Positions
    normal: Matrix
    made: tuple[Matrix, Matrix]
    """Swapped and displaced rows."""


def choose_detector(data: TrainingData, config: TrainConfig) -> DetectorChoice:
    """Fit every detector to parts of the fitting rows, and choose the one that separates best; the VAE unless another
    is better by more than one standard error.

    No calibration row is looked at, so that what the threshold promises holds for the one that is chosen.
    """
    parts, schema = divide(data, config)
    modality = modality_of(schema)
    x = np.concatenate([*modality.encode(take(data.table, parts.fit))])
    entities = None if data.entities is None else data.entities[parts.fit]
    trials = make_trials(x, schema.features(), config.seed, entities)
    figures: dict[str, Floats] = {}
    refusals: dict[str, str] = {}
    for detector in detector_names():
        try:
            rows = [areas_of(trial, x, schema, with_detector(config, detector), entities) for trial in trials]
            figures[detector] = np.array(rows)
        except KilterError as error:
            if detector == VAE:
                raise
            refusals[detector] = str(error)
    return settle(figures, refusals, sum(len(trial.normal) for trial in trials))


def make_trials(x: Matrix, features: tuple[Feature, ...], seed: int, entities: Positions | None) -> list[Trial]:
    """The folds of encoded rows, (n, features); rows with one number in `entities`, (n,), are in one of them."""
    trials = []
    for fold, (seen, held) in enumerate(zip(*folds(len(x), FOLDS, seed, entities), strict=True)):
        rng = np.random.default_rng([seed, fold])
        normal = x[rng.permutation(held)[:MOST_ROWS]]
        made = swapped(features, normal, rng, SWAPPED), displaced(features, normal, x, rng)
        trials.append(Trial(seen, normal, made))
    return trials


def displaced(features: tuple[Feature, ...], normal: Matrix, x: Matrix, rng: np.random.Generator) -> Matrix:
    """Rows that lie wider than the data x, (n, features): noise of one of several spreads in every column.

    A number moves by the spread s times its standard deviation and a normal variable; any other value is, with
    probability s / (1 + s), another: a level that all are as likely, or a flag or time of another row.
    """
    spread = rng.choice(SPREADS, (len(normal), 1))
    column = np.array([feature.column for feature in features])
    replaced: Mask = (rng.random((len(normal), column.max() + 1)) < spread / (1 + spread))[:, column]
    donor = x[rng.integers(len(x), size=len(normal))]
    single = np.bincount(column)[column] == 1
    deviation = np.nan_to_num(np.nanstd(np.where(np.isnan(x).all(0), 0, x), axis=0))
    made = normal.copy()
    for i, feature in enumerate(features):
        if feature.kind == "gaussian" and single[i]:
            made[:, i] += spread[:, 0] * deviation[i] * rng.standard_normal(len(normal))
        elif feature.kind == "level":
            level = rng.integers(feature.levels, size=len(normal))
            made[:, i] = np.where(replaced[:, i] & ~np.isnan(made[:, i]), level, made[:, i])
        else:
            made[:, i] = np.where(replaced[:, i], donor[:, i], made[:, i])
    changed: Mask = ((made != normal) & ~(np.isnan(made) & np.isnan(normal))).any(axis=1)
    return np.compress(changed, made, axis=0)


def areas_of(
    trial: Trial, x: Matrix, schema: Schema, config: TrainConfig, entities: Positions | None
) -> tuple[float, float]:
    """The AUROC of swapped and of displaced rows against normal ones, NaN if there are none, for the detector of a
    configuration that is fitted to the rows x, (n, features), that the trial has seen."""
    rows = x[trial.seen]
    some = None if entities is None else entities[trial.seen]
    device, kind = pick_device(config.device), kind_of_score(config.score, modality_of(schema).name)
    network = fit_or_remedy(rows, schema, config.fit, config.seed, device, entities=some).network.cpu()
    module, _ = score_around(network, kind, rows, rows[:0], schema, config, entities=some)
    normal = score_rows(module, trial.normal)
    areas = []
    for made in trial.made:
        scores = np.concatenate([normal, score_rows(module, made)]) if len(made) else normal
        anomalous = np.arange(len(scores)) >= len(normal)
        areas.append(Ranking.of(scores, anomalous).roc_auc() if len(made) else np.nan)
    return areas[0], areas[1]


def settle(figures: dict[str, Floats], refusals: dict[str, str], rows: int) -> DetectorChoice:
    """The choice by the figures of the detectors, (folds, 2), NaN for a kind that there is none of, the VAE's first."""
    both = {name: _mean_of_kinds(values) for name, values in figures.items()}
    gains = {name: mean_and_error(values - both[VAE]) for name, values in both.items() if name != VAE}
    trials = [
        DetectorTrial(name, mean_and_error(swap), mean_and_error(move), mean_and_error(both[name]), gains.get(name))
        for name, (swap, move) in ((name, values.T) for name, values in figures.items())
    ]
    trials += [DetectorTrial(name, refusal=refusal) for name, refusal in refusals.items()]
    better = {name: gain for name, gain in gains.items() if gain and gain.mean > max(gain.error, LEAST_GAIN)}
    if better:
        chosen, gain = max(better.items(), key=lambda item: item[1].mean)
        reason = (
            f"{chosen} separates better than vae by {gain.mean:.3f} on average (standard error {gain.error:.3f}), more "
            "than one standard error."
        )
    else:
        chosen = VAE
        reason = (
            "vae is kept, since no other separates better by more than one standard error of the difference, and by "
            f"{LEAST_GAIN:g} at least."
        )
    return DetectorChoice(chosen, FOLDS, rows, tuple(trials), reason)


def mean_and_error(values: Floats) -> Separation | None:
    """The mean of figures of folds, (folds,), and its standard error; None if one is not known."""
    if np.isnan(values).any():
        return None
    return Separation(float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values))))


def _mean_of_kinds(values: Floats) -> Floats:
    """The mean over the kinds that there are in all folds, (folds,)."""
    known = ~np.isnan(values).any(0)
    mean: Floats = values[:, known].mean(1) if known.any() else np.full(len(values), np.nan)
    return mean
