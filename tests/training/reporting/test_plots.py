from xml.etree import ElementTree

import numpy as np
import pytest

from kilter.service.detector import Calibration
from kilter.service.detector.findings import Epoch
from kilter.service.detector.inputs import Table
from kilter.training.reporting import plots
from kilter.training.reporting.run import Latent

NAME = "<b>$\\alpha$ & a name that is much longer than any axis has room for</b>"


def checked(svg: str, *parts: str) -> None:
    """Fail unless it is one well-formed element with a text of these parts, and without outside addresses."""
    element = ElementTree.fromstring(svg)  # noqa: S314 (made here)
    assert element.tag == "svg"
    assert all(part in element.attrib["aria-label"] for part in parts)
    assert "http" not in svg
    assert "var(--" in svg


@pytest.mark.parametrize("length", [1, 2, 30])
def test_curves_of_any_length(length: int) -> None:
    """A fit of one evaluation has a picture too."""
    history = [Epoch(10 * i, 3.0 - i, 2.0, 1.0, -3.0) for i in range(1, length + 1)]
    checked(plots.training_curves(history), f"over {10 * length} steps")


@pytest.mark.parametrize(
    ("calibration", "new"),
    [
        (np.linspace(0, 1, 99), np.linspace(0, 2, 50)),
        (np.full(99, 7.0), np.full(5, 7.0)),
        (np.linspace(0, 1, 99), np.array([1e12])),
        (np.linspace(-1e9, 0, 99), np.empty(0)),
    ],
)
def test_scores_of_any_shape(calibration: np.ndarray[tuple[int], np.dtype[np.float64]],
                             new: np.ndarray[tuple[int], np.dtype[np.float64]]) -> None:  # fmt: skip
    """All alike, far out, or none at all; a table of anomalies alone."""
    threshold = Calibration.of(calibration, 0.05, 6).threshold
    others = {"held-out normal rows": np.empty(0), NAME: new}
    checked(plots.score_distribution(calibration, threshold, "nats", others), f"threshold at {threshold:.4g}")


@pytest.mark.parametrize("size", [9, 19, 99, 1999])
def test_p_values_lie_in_the_band_where_rows_are_exchangeable(size: int) -> None:
    """Not every bar does: it is a 95 % band."""
    rng = np.random.default_rng(0)
    calibration = Calibration.of(rng.normal(size=size), 0.1, 12)
    bars = min(20, size + 1)
    svg = plots.p_value_histogram(calibration.p_values(rng.normal(size=500)), calibration)
    checked(svg, f"500 p-values in {bars} bars; ")
    inside = int(svg.split(" bars; ")[1].split()[0])
    assert inside >= 0.75 * bars


def test_curves_over_all_thresholds_tell_their_area() -> None:
    """With no row flagged too."""
    scores, anomalous = np.arange(10.0), np.arange(10) >= 5
    for threshold in (4.5, 99.0):
        checked(plots.roc_curve(scores, anomalous, threshold), "area 1.000")
        checked(plots.precision_recall_curve(scores, anomalous, threshold), "average precision 1.000")
    mixed = np.arange(10) % 2 == 0
    checked(plots.precision_recall_curve(scores, mixed, 4.5, 100.0), "average precision 0.010")


def test_columns_with_any_name() -> None:
    """A long name is cut, and none is read as markup or mathematics."""
    checked(plots.column_bars([NAME, "b"], [0.7, 0.2]), "b 20%")


@pytest.mark.parametrize("dimensions", [1, 2, 8])
@pytest.mark.parametrize("spread", [0.0, 1.0])
def test_a_latent_space_of_any_size(dimensions: int, spread: float) -> None:
    """One dimension, or all records in one place, are drawn as they are."""
    means = spread * np.random.default_rng(0).normal(size=(50, dimensions))
    latent = Latent(means, np.arange(50.0), np.arange(50) > 40, Table({}, 50, []))
    checked(plots.latent_plane(latent, 45.0), "50 records")


@pytest.mark.parametrize("kl", [(0.0,), (1.5, 0.2, 0.0), tuple(1 / i for i in range(1, 33))])
def test_kl_of_any_number_of_dimensions(kl: tuple[float, ...]) -> None:
    """A single one, and one that is empty, have a picture too, and a text that tells the sum."""
    text = f"{len(kl)} latent dimensions, {sum(kl):.3g} nats in all; 1 and 2 of them"
    checked(plots.kl_bars(kl, (1, 2)), text)
