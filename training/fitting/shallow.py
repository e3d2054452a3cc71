"""Shallow models that scikit-learn fits, as tensors from which a score evaluates them."""

import warnings

import numpy as np
from sklearn.ensemble import IsolationForest
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from kilter.service.detector.arrays import Floats, Matrix, Positions
from kilter.service.detector.scores.base import Gaussians, Trees

MIXTURE_ROWS = 5_000  # most rows that a mixture is fitted to, at random
RIDGES = (1e-3, 1e-2, 1e-1)  # variances that are added along each axis of standardised rows
TREES = 100
PARTS = 3  # of the rows, each held out once
FACTORS = (1, 3, 10, 30, 100)  # by which the added variance may be greater


def fit_gaussians(points: Matrix, components: int, seed: int) -> Gaussians:
    """A mixture of so many Gaussians with full covariances: see `detector.scores.base.MixtureFit`.

    The added variance is the first of `RIDGES` that makes the covariances positive definite. Raises ValueError if none
    does.
    """
    for ridge in RIDGES:
        try:
            mixture = maximise(points.astype(np.float64), components, ridge, seed)
        except ValueError:
            continue
        return Gaussians(mixture.weights_, mixture.means_, mixture.precisions_cholesky_)
    raise ValueError(f"no variance up to {RIDGES[-1]} makes the covariances of a mixture positive definite")


def maximise(points: Floats, components: int, added: float, seed: int) -> GaussianMixture:
    """Expectation maximisation from k-means, with a variance `added` along each axis."""
    mixture = GaussianMixture(components, reg_covar=added, random_state=seed % 2**32)
    with warnings.catch_warnings():  # one that has not converged, or has fewer clusters, is judged like any other
        warnings.simplefilter("ignore", ConvergenceWarning)
        return mixture.fit(points)


def fit_density(points: Floats, noise: float, seed: int) -> Gaussians:
    """A mixture of Gaussians with full covariances: see `detector.scores.base.DensityFit`.

    The added variance is `noise` or, where rows are few for the axes, more: the least with which one Gaussian gives
    held-out rows a density within one standard error of the greatest (Breiman et al., 1984). The number of Gaussians is
    doubled as long as the Bayesian information criterion gets better (Schwarz, 1978), and each has as many rows as free
    parameters, if there is more than one.
    """
    rows = np.random.default_rng(seed).permutation(len(points))[:MIXTURE_ROWS]
    drawn = points[np.sort(rows)]
    parameters = drawn.shape[1] * (drawn.shape[1] + 3) // 2 + 1
    parts = [drawn[part::PARTS] for part in range(PARTS)]

    def fitted(components: int, added: float, of: Floats = drawn) -> GaussianMixture:
        return maximise(of, components, added, seed)

    def held_out(added: float) -> Floats:
        others = (np.concatenate([*parts[:i], *parts[i + 1 :]]) for i in range(PARTS))
        densities = [fitted(1, added, of).score_samples(part) for of, part in zip(others, parts, strict=True)]
        return np.concatenate(densities)

    variances = [noise * factor for factor in FACTORS]
    densities = np.stack([held_out(added) for added in variances])
    short = densities[densities.mean(1).argmax()] - densities
    close = short.mean(1) <= short.std(1) / np.sqrt(len(drawn))
    added = variances[int(close.argmax())]
    best, components = fitted(1, added), 2
    lowest = best.bic(drawn)
    while components * parameters <= len(drawn):
        other = fitted(components, added)
        criterion = other.bic(drawn)
        if criterion >= lowest:
            break
        best, lowest, components = other, criterion, 2 * components
    return Gaussians(best.weights_, best.means_, best.precisions_cholesky_)


def grow_forest(points: Matrix, seed: int) -> Trees:
    """An isolation forest: see `detector.scores.base.Forest`."""
    forest = IsolationForest(n_estimators=TREES, random_state=seed % 2**32).fit(points)
    grown = [estimator.tree_ for estimator in forest.estimators_]
    root = np.cumsum([0, *(tree.node_count for tree in grown[:-1])])
    first = np.repeat(root, [tree.node_count for tree in grown])
    below = [np.concatenate([getattr(tree, side) for tree in grown]) for side in ("children_left", "children_right")]
    leaf, here = below[0] < 0, np.arange(len(first))
    lower, higher = (np.where(leaf, here, first + side) for side in below)
    axis, threshold, rows = (
        np.concatenate([getattr(tree, name) for tree in grown]) for name in ("feature", "threshold", "n_node_samples")
    )
    splits = np.zeros(len(first))
    for node in np.flatnonzero(~leaf):  # a node comes before those below it
        splits[lower[node]] = splits[higher[node]] = splits[node] + 1
    return Trees(
        axis=np.where(leaf, 0, axis),
        threshold=np.where(leaf, 0.0, threshold),
        lower=lower,
        higher=higher,
        length=np.where(leaf, splits + usual_path(rows), 0.0),
        root=root,
        depth=max(tree.max_depth for tree in grown),
        usual=float(usual_path(np.array([forest.max_samples_]))[0]),
    )


def usual_path(rows: Positions) -> Floats:
    """The average length of a path in a tree that isolates so many rows: c(n) of Liu, Ting and Zhou, 2008.

    It is that of an unsuccessful search in a binary tree, 2 H(n - 1) - 2 (n - 1) / n with the harmonic number H.
    """
    many = np.maximum(rows, 2).astype(np.float64)
    lengths = 2 * (np.log(np.maximum(many - 1, 1)) + np.euler_gamma) - 2 * (many - 1) / many
    return np.where(rows > 2, lengths, np.where(rows == 2, 1.0, 0.0))
