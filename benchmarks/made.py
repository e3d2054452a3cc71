"""Made anomalies over normal rows, of known kinds, after those of ADBench (Han et al., NeurIPS 2022).

- local: drawn from a Gaussian mixture of the numbers whose covariances are five times as large;
- cluster: drawn from the mixture with its means five times as far out;
- global: every field drawn evenly over its range and a tenth beyond, or among its levels;
- dependency: every field drawn from the training rows on its own, so that relations are lost;
- swapped: a tenth of the fields of a test row, at least one, replaced by those of other test rows.

The first two are of tables with numbers alone: there they move the numbers, and the levels are those of a training row.
"""

import warnings

import numpy as np
import polars as pl
from sklearn.mixture import GaussianMixture

KINDS = ("local", "cluster", "global", "dependency", "swapped")
SCALE = 5.0
BEYOND = 0.1
SWAPPED = 0.1
SHARE, LEAST, MOST = 0.2, 50, 500
"""So many anomalies of a kind for each normal test row, within bounds."""
COMPONENTS = 5
SAMPLE = 5_000
"""Most rows that the mixture is fitted to."""


def made_anomalies(train: pl.DataFrame, normal: pl.DataFrame, seed: int) -> dict[str, pl.DataFrame]:
    """Anomalies by kind, over training rows and normal test rows."""
    rng = np.random.default_rng([seed, 7])
    count = int(np.clip(SHARE * normal.height, LEAST, MOST))
    found: dict[str, pl.DataFrame] = {}
    numbers = [name for name, kind in train.schema.items() if kind.is_numeric()]
    if numbers:
        found |= _from_mixture(train, numbers, count, rng)
    found["global"] = train.select(_evenly(train[name], count, rng) for name in train.columns)
    found["dependency"] = train.select(train[name][rng.integers(train.height, size=count)] for name in train.columns)
    found["swapped"] = _swapped(normal, count, rng)
    return {kind: found[kind] for kind in KINDS if kind in found}


def _from_mixture(
    train: pl.DataFrame, numbers: list[str], count: int, rng: np.random.Generator
) -> dict[str, pl.DataFrame]:
    """The kinds `local` and `cluster`."""
    x = train.select(pl.col(numbers).cast(pl.Float64)).fill_null(strategy="mean").to_numpy()
    x = x[rng.permutation(len(x))[:SAMPLE]]
    center, spread = x.mean(0), x.std(0)
    varies = spread > 1e-12
    spread = np.where(varies, spread, 1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        components = min(COMPONENTS, len(x) // 10)
        mixture = GaussianMixture(components, reg_covar=1e-2, random_state=int(rng.integers(2**31)))
        mixture.fit((x - center) / spread)
    roots = np.linalg.cholesky(mixture.covariances_)
    found = {}
    for kind, far, wide in (("local", 1.0, SCALE), ("cluster", SCALE, 1.0)):
        component = rng.choice(len(mixture.weights_), count, p=mixture.weights_)
        noise = np.einsum("nij,nj->ni", roots[component], rng.normal(size=(count, len(center)))) * wide**0.5
        values = center + spread * np.where(varies, far * mixture.means_[component] + noise, 0.0)
        base = train[rng.integers(train.height, size=count)]
        moved = (_like(train[name], values[:, i]) for i, name in enumerate(numbers))
        found[kind] = base.with_columns(moved)
    return found


def _like(column: pl.Series, values: np.ndarray) -> pl.Series:
    """Values as those of a column: whole where all of its numbers are."""
    known = column.drop_nulls().cast(pl.Float64)
    if (known == known.round()).all():
        values = np.round(values)
    return pl.Series(column.name, values).cast(column.dtype)


def _evenly(column: pl.Series, count: int, rng: np.random.Generator) -> pl.Series:
    known = column.drop_nulls()
    if not column.dtype.is_numeric():
        levels = known.unique().sort()
        return levels[rng.integers(len(levels), size=count)].rename(column.name)
    low, high = float(known.min()), float(known.max())  # type: ignore[arg-type]
    room = BEYOND * (high - low)
    return _like(column, rng.uniform(low - room, high + room, count))


def _swapped(normal: pl.DataFrame, count: int, rng: np.random.Generator) -> pl.DataFrame:
    base = normal[rng.integers(normal.height, size=count)]
    fields = max(1, round(SWAPPED * normal.width))
    chosen = np.argsort(rng.random((count, normal.width)), axis=1) < fields
    columns = []
    for i, name in enumerate(normal.columns):
        others = normal[name][rng.integers(normal.height, size=count)]
        columns.append(base[name].zip_with(pl.Series(~chosen[:, i]), others))
    return pl.DataFrame(columns)
