import re
from collections import Counter
from html.parser import HTMLParser

import matplotlib as mpl
import msgspec
import numpy as np
import pytest

from kilter.service.detector.columns import NumericColumn
from kilter.service.detector.findings import Baseline, SourceFile
from kilter.service.detector.schema import LeftOut
from kilter.training.evaluation.baselines import baseline_warning
from kilter.training.reporting.run import Run, Scored
from tests.support import detectors
from tests.support.runs import Made, run

VOID = {"meta", "link", "img", "br", "hr", "input"}
HOSTILE = "<script>alert('$x_1$')</script>"


class Page(HTMLParser):
    """The text of a page, its ids and its headings; fails on tags that do not match."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: Counter[str] = Counter()
        self.ids: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(name, value or "") for name, value in attrs]
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def labelled() -> Page:
    """The report of a run with labels."""
    return Page(run(labelled=True, notes=("Look at this first.",), settings={"steps": 120}).page)


@pytest.fixture(scope="module")
def unlabelled() -> Page:
    """The report of a run without labels."""
    return Page(run(labelled=False).page)


def test_a_report_with_labels_has_every_section(labelled: Page) -> None:
    """Quality, reasons, fit, columns, provenance; and what to know comes before all figures."""
    for heading in (
        "How good it is", "Scores", "P-values of held-out normal rows", "ROC", "Precision and recall",
        "The columns that matter", "The latent space", "The strangest held-out normal records", "Training", "Columns",
        "Settings and provenance", "Against simple detectors", "nearest neighbour", "Suspects",
        "What the latent space is used for",
    ):  # fmt: skip
        assert heading in labelled.text
    assert labelled.tags["svg"] == 8
    assert labelled.text.index("Look at this first.") < labelled.text.index("Figures")
    assert "its values are all different, like an identifier" in labelled.text
    assert "settings: steps 120" in labelled.text
    assert re.search(r"Would be normal with amount -?\d\.\d+ instead of -?\d\.\d+", labelled.text)


def test_the_first_lines_say_what_is_promised_and_how_good_it_is(labelled: Page) -> None:
    """Nobody needs to scroll for the verdict."""
    head = labelled.text[: labelled.text.index("How good it is")]
    assert "It is set for a false-alarm rate of 5 %." in head
    assert "At its threshold it tells anomalies from normal rows well: it flags 1" in head
    assert re.search(r"where 15\.8.% are anomalies, as here, 8\d\.\d.% \(.* to .*\) of its flags are right\.", head)
    assert re.search(r"has a ROC AUC of 0\.9\d\d \(0\.9\d\d to 0\.9\d\d\)\.", head)
    assert "Alerts to expect: " in head
    assert "The false-alarm rate holds:" in head


def test_a_report_without_labels_leaves_out_what_needs_them(unlabelled: Page) -> None:
    """No empty plots, no figures that nobody could know."""
    assert "There are no labels" in unlabelled.text
    assert "ROC" not in unlabelled.text
    assert "Precision and recall" not in unlabelled.text
    assert unlabelled.tags["svg"] == 6


def test_a_report_needs_nothing_else(labelled: Page) -> None:
    """No address outside, no script, nothing to load."""
    assert not labelled.tags.keys() & {"script", "link", "img", "iframe", "object"}
    for name, value in labelled.attributes:
        assert "//" not in value
        assert name not in ("src", "srcset", "action")
        assert not name.startswith("on")
        assert name != "href" or value.startswith("#")
    html = run(labelled=False).page
    assert "http" not in html
    assert "@import" not in html


def test_ids_are_unique_and_plots_can_be_read_aloud(labelled: Page) -> None:
    """Several SVG stand in one page and must not mix, and each has a text in its place."""
    assert len(labelled.ids) == len(set(labelled.ids))
    assert sum(name == "aria-label" and len(value) > 20 for name, value in labelled.attributes) == 8


def test_names_from_data_cannot_become_markup() -> None:
    """A column, a level, a file or a note may be called anything."""
    _, *others = detectors.SCHEMA.columns
    schema = msgspec.structs.replace(
        detectors.SCHEMA,
        columns=(NumericColumn(HOSTILE, 0.0, 1.0, -1.0, 1.0), *others),
        left_out=(LeftOut(f"id{HOSTILE}", HOSTILE),),
    )
    files = (SourceFile(HOSTILE, 1, "0"),)
    page = Page(run(labelled=True, schema=schema, notes=(HOSTILE,), label=HOSTILE, files=files).page)
    assert page.tags["script"] == 0
    assert page.text.count(HOSTILE) >= 6


def test_a_report_is_the_same_whenever_it_is_written() -> None:
    """And whatever matplotlib settings the caller has; it leaves those as they are."""
    first = run(labelled=True).page
    with mpl.rc_context({"font.size": 30, "text.color": "red"}):
        before = dict(mpl.rcParams)
        assert run(labelled=True).page == first
        assert dict(mpl.rcParams) == before


def test_a_run_with_next_to_nothing_still_gets_a_report() -> None:
    """One held-out row with a problem, no history, one latent dimension, all scores alike."""
    table = detectors.rows(1, 0)
    detector = detectors.calibrated(np.full(199, 3.0), 0.05)
    made = run(labelled=False)
    small = msgspec.structs.replace(made.run.evaluation, normal=0, within_promise=None)
    empty = Run(detector, (), [], small, Scored(table, np.array([np.nan]), np.arange(1)), fresh=True)
    html = Made(detector.manifest, empty).page
    assert "No history was kept." in Page(html).text


def test_the_first_lines_say_if_a_simple_detector_is_better() -> None:
    """Before any word of praise, with both figures; other warnings are among the notes."""
    made = run(labelled=True)
    better = Baseline("nearest neighbour", 0.99, 0.9, gain=0.04, error=0.01)
    comparison = made.manifest.training.comparison
    assert comparison is not None
    comparison = msgspec.structs.replace(comparison, detectors=(comparison.detectors[0], better))
    (first,) = baseline_warning(comparison)
    text = Page(made.but(comparison=comparison, warnings=(first, "The fit is not finished.")).page).text
    warning = "A simple detector does better: nearest neighbour has a ROC AUC of 0.990"
    assert 0 < text.index(warning) < text.index("it tells anomalies from normal rows")
    assert text.count(warning) == 1
    assert text.index("The fit is not finished.") < text.index("How good it is")
