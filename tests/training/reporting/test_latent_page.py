"""The latent space to look at: what the page holds, and that it holds all that it shows."""

import json
import re
import shutil
import subprocess
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from kilter.service.detector import Detector
from kilter.service.detector.inputs import Table
from kilter.training.reporting.latent_page import (
    SIDE,
    LatentView,
    decoded_plane,
    grid_of,
    latent_figure,
    latent_page,
    view_latent,
)
from tests.support.data import records
from tests.support.digits import shuffled


@pytest.fixture(scope="module")
def table(detector: Detector) -> Table:
    """Records that `plant` has not seen, one of them strange, one in error."""
    rows: list[dict[str, Any]] = records(np.random.default_rng(8), 60)
    rows[3] = {**rows[3], "temperature": 900.0, "line": "</script><b>"}
    rows[5] = {**rows[5], "temperature": "hot"}
    return detector.table(rows)


@pytest.fixture(scope="module")
def view(detector: Detector, table: Table) -> LatentView:
    return view_latent(detector, table, np.arange(table.rows) == 3)


def content_of(page: str) -> Any:
    """The data of a page."""
    return json.loads(page.split('<script id="content" type="application/json">')[1].split("</script>")[0])


def test_the_plane_is_that_of_the_largest_variance(view: LatentView) -> None:
    """Axes are orthonormal, in the order of their variance, and the share is that of the first two."""
    assert len(view.codes) == 59
    np.testing.assert_allclose(view.axes @ view.axes.T, np.eye(len(view.axes)), atol=1e-9)
    variance = np.linalg.eigvalsh(np.cov(view.codes.T, bias=True))[::-1]
    np.testing.assert_allclose(view.spread**2, variance[: len(view.spread)], atol=1e-9)
    assert view.share == pytest.approx(variance[:2].sum() / variance.sum())
    np.testing.assert_allclose(view.places.std(axis=0), view.spread[:2])


def test_what_is_decoded_is_what_the_model_decodes(view: LatentView) -> None:
    """At the mean code, and at the place of a record on as many axes as there are."""
    assert view.decode(np.zeros((1, 2))) == view.detector.decode(view.centre)
    whole = (view.codes[:3] - view.centre) @ view.axes.T
    assert view.decode(whole) == view.detector.decode(view.codes[:3])


def test_the_page_holds_what_it_shows(view: LatentView) -> None:
    """Every record on both maps, with its verdict, and no address of anything outside; texts cannot end the script."""
    page = latent_page(view)
    content = content_of(page)
    count = len(view.codes)
    assert [len(places) for places in content["maps"].values()] == [count, count]
    assert len(content["records"]) == len(content["flagged"]) == len(content["score"]) == count
    assert content["flagged"] == view.verdicts.anomaly.tolist()
    assert {*content["colours"]} == {"score", "label", *view.detector.schema.names}
    assert content["colours"]["label"].count("anomaly") == 1
    assert len(content["grid"]["cells"]) == SIDE**2
    assert any(record["line"] == "</script><b>" for record in content["records"])
    assert len(re.findall("</script>", page)) == 2
    assert not re.search(r"(src|href)=|https?://|@import", page)
    first, second = grid_of(view)
    cell = view.decode(np.array([[first[4], second[7]]]))
    assert content["grid"]["cells"][7 * SIDE + 4] == json.loads(json.dumps(cell[0], default=str))


def test_the_same_seed_gives_the_same_page(view: LatentView) -> None:
    assert latent_page(view) == latent_page(view)


def test_the_maps_are_those_that_are_wanted(view: LatentView) -> None:
    """On the page in their order, and a panel for each in a figure."""
    assert list(content_of(latent_page(view, maps=("tsne",)))["maps"]) == ["t-SNE"]
    assert list(content_of(latent_page(view, maps=("tsne", "pca")))["maps"]) == ["t-SNE", "principal components"]
    heights = [
        Image.open(BytesIO(latent_figure(view, "png", maps=maps))).height for maps in (("pca",), ("pca", "tsne"))
    ]
    assert heights[1] == 2 * heights[0]


def test_pictures_are_drawn(digits_detector: Detector) -> None:
    """On the page as data, and on the decoded plane, which is as large as its cells together."""
    view = view_latent(digits_detector, digits_detector.table(shuffled()[400:440]), None)
    content = content_of(latent_page(view))
    assert content["pictures"] is True
    assert all(record.startswith("data:image/png;base64,") for record in content["records"])
    height, width, _ = view.detector.schema.columns[0].shape
    plane = decoded_plane(view)
    assert plane.shape[:2] == (SIDE * height, SIDE * width)
    assert (plane.min() >= 0, plane.max() <= 1) == (True, True)
    assert latent_figure(view, "png").startswith(b"\x89PNG")


def test_the_figure_is_a_file(view: LatentView) -> None:
    """In either format."""
    assert b"<svg" in latent_figure(view, "svg")
    assert latent_figure(view, "png").startswith(b"\x89PNG")


def test_too_few_records_make_no_map(detector: Detector, table: Table) -> None:
    with pytest.raises(ValueError, match="2 records can be read, and a map needs 3"):
        view_latent(detector, detector.table(records(np.random.default_rng(8), 2)), None)


@pytest.mark.e2e
@pytest.mark.skipif(shutil.which("chromium") is None, reason="there is no browser")
def test_a_browser_shows_it(view: LatentView, tmp_path: Path) -> None:
    """Its script runs to the end: what is decoded, the nearest record, the traversals and reconstructions are there."""
    path = tmp_path / "page.html"
    path.write_text(latent_page(view))
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", path.as_uri()]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    for place in ("decoded", "record", "traversals", "rebuilt"):
        part = shown.split(f'id="{place}"')[1]
        assert part.index("<table>") < 400, place
    assert "The nearest record: score" in shown
