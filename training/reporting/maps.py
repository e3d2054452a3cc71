"""Maps of codes: two numbers for each, so that codes that are near to each other lie near to each other."""

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from sklearn.manifold import TSNE

from kilter.service.detector.arrays import Floats
from kilter.service.detector.errors import KilterError

TITLES = {"pca": "principal components", "tsne": "t-SNE", "umap": "UMAP"}
"""The maps that there are."""
USUAL_MAPS = ("pca", "tsne")
PERPLEXITY = 30.0
NEIGHBOURS = 15  # of each code, by which UMAP knows where it lies


def check_maps(kinds: Sequence[str]) -> None:
    """Raise KilterError, which says what to install, if one of the maps cannot be made."""
    if "umap" in kinds:
        _umap()


def draw_maps(kinds: Sequence[str], codes: Floats, plane: Floats, seed: int = 0) -> dict[str, Floats]:
    """Maps of codes, (n, size), by their titles: (n, 2) each. `plane` has their first two principal components."""
    ways: dict[str, Callable[[], Floats]] = {
        "pca": lambda: plane,
        "tsne": partial(neighbours_map, codes, seed),
        "umap": partial(umap_map, codes, seed),
    }
    return {TITLES[kind]: ways[kind]() for kind in kinds}


def neighbours_map(codes: Floats, seed: int = 0) -> Floats:
    """Codes by t-SNE (van der Maaten and Hinton, 2008): (n, 2), near to each other where codes are."""
    perplexity = min(PERPLEXITY, (len(codes) - 1) / 3)
    mapped = TSNE(2, perplexity=perplexity, init="pca", random_state=seed).fit_transform(codes.astype(np.float32))
    places: Floats = np.asarray(mapped, np.float64)
    return places


def umap_map(codes: Floats, seed: int = 0) -> Floats:
    """Codes by UMAP (McInnes, Healy and Melville, 2018): (n, 2). Raises KilterError without umap-learn.

    It begins with the principal components, as t-SNE does here: its own beginning needs more codes than a few.
    """
    count = min(NEIGHBOURS, len(codes) - 1)
    way = _umap()(n_components=2, n_neighbors=count, init="pca", random_state=seed, n_jobs=1)
    places: Floats = np.asarray(way.fit_transform(codes.astype(np.float32)), np.float64)
    return places


def _umap() -> Any:
    """The class of umap-learn. Raises KilterError if it is not there."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it finds no TensorFlow, which this does not need
            from umap import UMAP
    except ImportError:
        raise KilterError("a map by UMAP needs umap-learn: pip install 'kilter[umap]'") from None
    return UMAP
