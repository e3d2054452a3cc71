"""What people fall back on: each peer fits standardised rows and returns a function that scores more of them.

scikit-learn's and PyOD's own classes with their defaults, except where a line below says otherwise. PyOD's are there
only if it is installed (`pip install pyod`). Higher scores are stranger.
"""

import warnings
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import LocalOutlierFactor, NearestNeighbors

from benchmarks.clock import Matrix, Score
from benchmarks.sets import Floats

CONSTANT = 1e-12
"""A column with a smaller standard deviation is only centred."""

Fit = Callable[[Matrix, int], Score]
"""From training rows and a seed to the function that scores rows."""


class Scaling(NamedTuple):
    """Mean and standard deviation of the training rows, each (columns,)."""

    mean: Floats
    sd: Floats

    @classmethod
    def of(cls, train: Floats) -> "Scaling":
        """The scaling of training rows (n, columns)."""
        sd = train.std(0)
        return cls(train.mean(0), np.where(sd < CONSTANT, 1.0, sd))

    def __call__(self, x: Floats) -> Matrix:
        """Rows (m, columns), standardised."""
        return ((x - self.mean) / self.sd).astype(np.float32)


def nearest(k: int) -> Fit:
    """The Euclidean distance to the k-th nearest training row, as PyOD's KNN has it by default."""

    def fit(train: Matrix, seed: int) -> Score:  # noqa: ARG001
        model = NearestNeighbors(n_neighbors=min(k, len(train))).fit(train)
        return lambda x: np.asarray(model.kneighbors(x)[0][:, -1], np.float64)

    return fit


def local_outlier_factor(train: Matrix, seed: int) -> Score:  # noqa: ARG001
    """LOF of 20 neighbours, for rows that are new."""
    model = LocalOutlierFactor(n_neighbors=min(20, len(train) - 1), novelty=True).fit(train)
    return lambda x: -np.asarray(model.score_samples(x), np.float64)


def isolation_forest(train: Matrix, seed: int) -> Score:
    """An isolation forest of 100 trees."""
    model = IsolationForest(random_state=seed).fit(train)
    return lambda x: -np.asarray(model.score_samples(x), np.float64)


def principal_components(train: Matrix, seed: int) -> Score:  # noqa: ARG001
    """The squared distance to the subspace of the principal components that hold 95 % of the variance."""
    model = PCA(n_components=0.95, svd_solver="full").fit(train)
    return lambda x: np.square(x - model.inverse_transform(model.transform(x)), dtype=np.float64).sum(1)


def gaussian_mixture(train: Matrix, seed: int) -> Score:
    """-log density under 5 Gaussians with full covariances, regularised by the first of 1e-6, 1e-4, 1e-2 that works."""
    rows = train.astype(np.float64)
    for regularisation in (1e-6, 1e-4, 1e-2):
        model = GaussianMixture(min(5, len(rows)), reg_covar=regularisation, random_state=seed)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model.fit(rows)
        except ValueError:
            continue
        break
    else:
        raise ValueError("no regularisation up to 1e-2 makes the covariances positive definite")
    return lambda x: -np.asarray(model.score_samples(x.astype(np.float64)), np.float64)


def pyod(module: str, name: str, *, seeded: bool = True) -> Fit:
    """A detector of PyOD with its defaults, silent; its networks run on the CPU."""

    def fit(train: Matrix, seed: int) -> Score:
        settings: dict[str, Any] = {"random_state": seed, "verbose": 0, "device": "cpu"} if seeded else {}
        model = getattr(import_module(f"pyod.models.{module}"), name)(**settings)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(train)
        return lambda x: np.asarray(model.decision_function(x), np.float64)

    return fit


PEERS: dict[str, Fit] = {
    "knn1": nearest(1),
    "knn5": nearest(5),
    "lof": local_outlier_factor,
    "iforest": isolation_forest,
    "pca": principal_components,
    "gmm": gaussian_mixture,
    "pyod-vae": pyod("vae", "VAE"),
    "pyod-autoencoder": pyod("auto_encoder", "AutoEncoder"),
    "pyod-ecod": pyod("ecod", "ECOD", seeded=False),
}


def available() -> tuple[str, ...]:
    """The names of the peers that can run here."""
    here = find_spec("pyod") is not None
    return tuple(name for name in PEERS if here or not name.startswith("pyod-"))
