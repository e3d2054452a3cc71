"""Reports on synthetic records: what is measured, on tables of which the answer is known."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from scipy.stats import ks_2samp

from kilter.service.detector import Detector, KilterError, Schema
from kilter.service.detector.columns import CategoricalColumn, NumericColumn
from kilter.service.detector.inputs import Table
from kilter.service.formats.fidelity import (
    Libraries,
    check_report,
    compare_tables,
    report_fidelity,
    synthetic_libraries,
    write_report,
)
from tests.support.data import records

SCHEMA = Schema((NumericColumn("x", 0.0, 1.0, -4.0, 4.0), CategoricalColumn("c", ("red", "blue"), (50, 50))), rows=100)


class KSComplement:
    """As SDMetrics has it."""

    @staticmethod
    def compute(real: Any, made: Any) -> float:
        return 1 - float(ks_2samp(real.dropna(), made.dropna()).statistic)


class TVComplement:
    """As SDMetrics has it."""

    @staticmethod
    def compute(real: Any, made: Any) -> float:
        shares = [part.dropna().value_counts(normalize=True) for part in (real, made)]
        return 1 - float(shares[0].sub(shares[1], fill_value=0).abs().sum()) / 2


class ContingencySimilarity:
    """As SDMetrics has it."""

    @staticmethod
    def compute(real: Any, made: Any) -> float:
        return TVComplement.compute(*(frame["a"] + "|" + frame["b"] for frame in (real, made)))


class Metrics:
    """What stands for SDMetrics, which wants an older pandas than these tests run on."""

    KSComplement, TVComplement, ContingencySimilarity = KSComplement, TVComplement, ContingencySimilarity


@pytest.fixture(scope="module")
def libraries() -> Libraries:
    """Those of the extra, with our own distances of columns."""
    import pandas as pd
    import sklearn.ensemble
    import sklearn.metrics
    import sklearn.model_selection
    import sklearn.neighbors

    parts = sklearn.ensemble, sklearn.model_selection, sklearn.metrics, sklearn.neighbors
    return Libraries(Metrics, Metrics, *parts, pd)


def rows(count: int, seed: int, *, together: bool = True) -> Table:
    """Records whose level is red where the number is positive or, if not `together`, anyhow; some are missing."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=count)
    level = np.where((x if together else rng.permutation(x)) > 0, "red", "blue").astype(object)
    level[::10] = None
    return Table({"x": x, "c": level}, count, [])


def test_records_of_the_same_origin_are_alike(libraries: Libraries) -> None:
    """In columns and pairs; boosting does not tell them apart, and they are as near to either half."""
    real = rows(800, 0)
    fitted = np.arange(800) < 400
    report = compare_tables(SCHEMA, rows(400, 1), real, np.ones(800, bool), fitted, libraries)
    assert report.unseen
    assert (report.synthetic, report.real, report.invalid) == (400, 400, 0)
    assert min(report.column_likeness, report.pair_likeness) > 0.85
    assert abs(report.detection_auroc - 0.5) < 0.08
    assert report.nearness is not None
    assert abs(report.nearness.nearer_to_fitted - 0.5) < 0.1
    assert abs(report.nearness.membership_auroc - 0.5) < 0.1
    assert (report.nearness.copies, report.nearness.copies_by_nature) == (0, 0)


def test_what_does_not_go_together_is_seen(libraries: Libraries) -> None:
    """By pairs and by boosting, where the columns alone look right."""
    nothing = np.zeros(400, bool)
    report = compare_tables(SCHEMA, rows(400, 1, together=False), rows(400, 0), nothing, nothing, libraries)
    assert not report.unseen
    assert report.nearness is None
    assert report.column_likeness > 0.9
    assert report.pair_likeness < 0.7
    assert report.detection_auroc > 0.7
    assert report.detection_score == 2 - 2 * report.detection_auroc
    assert "too few rows of either kind" in "\n".join(report.lines())


def test_a_generator_that_copies_is_seen(libraries: Libraries) -> None:
    """By nearness, by membership, and by the copies themselves."""
    real = rows(400, 0)
    fitted = np.arange(400) < 200
    copies = Table({name: values[:200] for name, values in real.columns.items()}, 200, [])
    report = compare_tables(SCHEMA, copies, real, np.ones(400, bool), fitted, libraries)
    assert report.nearness is not None
    assert report.nearness.nearer_to_fitted == 1
    assert report.nearness.membership_auroc > 0.95
    assert (report.nearness.copies, report.nearness.copies_by_nature) == (1, 0)
    assert "evidence, and no guarantee of privacy" in list(report.lines())[-1]


def test_a_report_of_a_model_tells_its_fitting_rows(
    maker: Detector, libraries: Libraries, training_csv: Path, tmp_path: Path
) -> None:
    """By the hashes in the artifact: the calibration rows of the training file are none of them."""
    real = maker.table(records(np.random.default_rng(0), 600))
    made = maker.table(maker.generate(300, seed=1))
    report = write_report(maker, made, real, tmp_path / "report.json", libraries)
    sizes = maker.manifest.training.sizes
    assert sizes is not None
    assert report.unseen
    assert report.real == sizes.calibration
    assert report.nearness is not None
    assert report.nearness.rows == min(sizes.fit, sizes.calibration)
    assert abs(report.nearness.nearer_to_fitted - 0.5) < 0.12
    written = msgspec.json.decode((tmp_path / "report.json").read_bytes())
    assert written["pair_likeness"] == report.pair_likeness
    assert {column["column"] for column in written["columns"]} == {*maker.schema.names}
    with pytest.raises(KilterError, match="exists already"):
        check_report(maker, tmp_path / "report.json", force=False)


def test_what_cannot_be_reported_is_said(
    maker: Detector, digits_detector: Detector, libraries: Libraries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pictures, too few records, and a library that is not there."""
    with pytest.raises(KilterError, match="pictures have none: leave it out"):
        check_report(digits_detector, tmp_path / "report.json", force=False)
    few = maker.table(records(np.random.default_rng(0), 20))
    with pytest.raises(KilterError, match="a report needs 30 synthetic and 30 real records"):
        report_fidelity(maker, few, few, libraries)
    monkeypatch.setitem(__import__("sys").modules, "sdmetrics.single_column", None)
    with pytest.raises(KilterError, match=r"needs sdmetrics.*: pip install 'kilter\[synthetic\]'"):
        synthetic_libraries()


def test_sdmetrics_gives_the_same(libraries: Libraries) -> None:
    """As what stands for it here; where it is installed."""
    pytest.importorskip("sdmetrics")
    nothing = np.zeros(400, bool)
    reports = [
        compare_tables(SCHEMA, rows(400, 1, together=False), rows(400, 0), nothing, nothing, these)
        for these in (libraries, synthetic_libraries())
    ]
    assert reports[0].pairs[0].likeness == pytest.approx(reports[1].pairs[0].likeness, abs=1e-3)
    assert reports[0].column_likeness == pytest.approx(reports[1].column_likeness, abs=1e-3)
