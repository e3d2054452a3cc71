from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from kilter.service.detector import KilterError
from kilter.service.formats.discoveries import find_discoveries
from kilter.service.formats.reading import read_frame
from kilter.service.formats.scoring import score_file
from tests.support import detectors

RANKS = st.lists(st.integers(1, 40), min_size=1, max_size=80)


@given(RANKS, st.sampled_from([0.01, 0.05, 0.1, 0.3, 0.8]))
def test_the_declared_are_those_of_benjamini_and_hochberg(ranks: list[int], fdr: float) -> None:
    """Equal to SciPy's adjusted p-values, ties and all."""
    p_values = np.array(ranks) / 40
    declared = p_values <= find_discoveries(Counter(p_values.tolist()), fdr, 1 / 41).cut
    assert (declared == (stats.false_discovery_control(p_values) <= fdr + 1e-12)).all()


@given(RANKS, st.sampled_from([0.05, 0.2, 0.8]))
def test_the_declared_are_counted(ranks: list[int], fdr: float) -> None:
    """As many as have p-values up to the cut, whatever the order in which p-values were counted."""
    p_values = [rank / 40 for rank in ranks]
    found = find_discoveries(Counter(p_values), fdr, 1 / 41)
    assert found == find_discoveries(Counter(p_values[::-1]), fdr, 1 / 41)
    assert (found.judged, found.declared) == (len(ranks), sum(p_value <= found.cut for p_value in p_values))


def test_few_of_the_declared_are_normal_on_average() -> None:
    """Conformal p-values that share a calibration set, 10 % anomalies: the mean proportion is at most the rate."""
    rng = np.random.default_rng(0)
    shares = []
    for _ in range(300):
        calibration = np.sort(rng.normal(size=499))
        scores = np.append(rng.normal(size=450), rng.normal(3.5, 1, 50))
        p_values = (1 + 499 - np.searchsorted(calibration, scores)) / 500
        declared = p_values <= find_discoveries(Counter(p_values.tolist()), 0.2, 1 / 500).cut
        shares.append(declared[:450].sum() / max(1, declared.sum()))
    assert np.mean(shares) <= 0.2 + 2 * np.std(shares) / np.sqrt(len(shares))
    assert np.mean(shares) > 0.1


def test_what_cannot_be_declared_is_explained() -> None:
    """With 19 calibration records no p-value is below 0.05, too coarse for one of 100 records."""
    found = find_discoveries({0.5: 99, 0.05: 1}, 0.1, 0.05)
    assert found.declared == 0
    assert "among 100 records at least 50 must have it" in str(found)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A CSV of 300 normal records and 40 strange ones."""
    rows = detectors.joined(detectors.rows(300, 3), detectors.rows(40, 4, shift=8.0))
    pl.DataFrame({name: values.tolist() for name, values in rows.columns.items()}).write_csv(tmp_path / "in.csv")
    return tmp_path / "in.csv"


@pytest.mark.parametrize("ending", ["csv", "csv.gz", "parquet", "arrow"])
def test_flags_in_a_file_are_the_declared_records(table: Path, tmp_path: Path, ending: str) -> None:
    """In every format, with reasons for the flagged ones; the summary says how many and up to which p-value."""
    model = detectors.detector(size=999)
    summary = score_file(model, table, tmp_path / f"out.{ending}", fdr=0.1)
    scored = read_frame([tmp_path / f"out.{ending}"]).frame
    p_values = scored["kilter_p_value"].cast(pl.Float64).to_numpy()
    flags = (scored["kilter_anomaly"].cast(pl.String) == "true").to_numpy()
    assert (flags == (stats.false_discovery_control(p_values) <= 0.1 + 1e-12)).all()
    assert flags.sum() == summary.anomalies >= 35
    assert ((scored["kilter_reasons"].fill_null("") != "").to_numpy() == flags).all()
    assert summary.discoveries is not None
    assert str(summary.discoveries).startswith(
        f"false-discovery rate 0.1: {flags.sum()} of 340 judged records declared"
    )


def test_a_stream_is_refused(table: Path, tmp_path: Path) -> None:
    """Standard input cannot be read twice, and nothing may be written before all is read."""
    model = detectors.detector()
    with pytest.raises(KilterError, match="a file that can be read twice"):
        score_file(model, "-", tmp_path / "out.csv", fdr=0.1)
    with pytest.raises(KilterError, match="not standard output"):
        score_file(model, table, "-", fdr=0.1)
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize("fdr", [0.0, 1.0, -0.1, float("nan")])
def test_a_rate_that_makes_no_sense_is_refused(fdr: float, table: Path, tmp_path: Path) -> None:
    """A false-discovery rate is between 0 and 1."""
    with pytest.raises(KilterError, match="between 0 and 1"):
        score_file(detectors.detector(), table, tmp_path / "out.csv", fdr=fdr)


def test_tail_probabilities_are_a_sixth_column(table: Path, tmp_path: Path) -> None:
    """Empty up to where the tail begins, in text and in typed files; without a tail, empty throughout."""
    model = detectors.detector(size=999, tail=True)
    for out in (tmp_path / "out.csv", tmp_path / "out.parquet"):
        score_file(model, table, out, tails=True)
        scored = read_frame([out]).frame.with_columns(pl.col("^kilter_(score|tail.*)$").cast(pl.Float64, strict=False))
        assert scored.columns[-1] == "kilter_tail_probability"
        expected = model.calibration.judge(scored["kilter_score"].to_numpy()).tail_probability
        assert expected is not None
        found = scored["kilter_tail_probability"].fill_null(float("nan")).to_numpy()
        assert np.array_equal(found, expected, equal_nan=True)
        assert 40 <= np.isfinite(found).sum() < 120
    score_file(detectors.detector(), table, tmp_path / "none.parquet", tails=True)
    assert pl.read_parquet(tmp_path / "none.parquet")["kilter_tail_probability"].null_count() == 340
