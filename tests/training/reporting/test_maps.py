"""Maps of codes keep near to each other what is near."""

import sys
from importlib.util import find_spec

import numpy as np
import pytest

from kilter.service.detector import KilterError
from kilter.service.detector.arrays import Floats
from kilter.training.reporting.maps import TITLES, check_maps, draw_maps, neighbours_map, umap_map


def far_apart(count: int) -> Floats:
    """Codes of two clusters of so many each."""
    codes: Floats = np.repeat(np.array([[0.0] * 4, [50.0] * 4]), count, axis=0)
    return codes + np.random.default_rng(0).normal(size=codes.shape)


def test_near_codes_stay_near() -> None:
    """On the map by t-SNE; that of principal components is the plane that is given."""
    codes = far_apart(20)
    maps = draw_maps(("tsne", "pca"), codes, codes[:, :2])
    assert list(maps) == ["t-SNE", "principal components"]
    assert np.array_equal(maps["principal components"], codes[:, :2])
    places = maps["t-SNE"]
    assert np.linalg.norm(places[:20].mean(0) - places[20:].mean(0)) > places[:20].std()
    assert neighbours_map(codes[:3]).shape == (3, 2)


def test_without_the_extra_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is read; the other maps need none."""
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(KilterError, match=r"pip install 'kilter\[umap\]'"):
        check_maps(("pca", "umap"))
    check_maps([kind for kind in TITLES if kind != "umap"])


@pytest.mark.e2e
@pytest.mark.skipif(find_spec("umap") is None, reason="umap-learn is not installed")
def test_umap_keeps_near_what_is_near() -> None:
    """The same at every call, for a few codes too."""
    codes = far_apart(30)
    places = umap_map(codes, 1)
    assert np.array_equal(places, umap_map(codes, 1))
    assert np.linalg.norm(places[:30].mean(0) - places[30:].mean(0)) > 2 * places[:30].std()
    assert umap_map(codes[:3]).shape == (3, 2)
