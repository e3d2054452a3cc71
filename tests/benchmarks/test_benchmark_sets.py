"""Tests of the protocol by which benchmarks split their tables."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.sets import LEAST_ANOMALIES, MOST_ROWS, Sample, divide, frame, load, load_whole, names


def identified(rows: int, anomalies: int, seed: int, contamination: float = 0.0) -> Sample:
    """A split of a table whose first column numbers its rows, the anomalies first."""
    x = np.stack([np.arange(rows), np.zeros(rows)], axis=1).astype(np.float64)
    return divide("made up", x, np.arange(rows) < anomalies, seed, contamination)


@given(st.integers(4, 400), st.integers(1, 60), st.integers(0, 5), st.sampled_from([0.0, 0.01, 0.05, 0.1, 0.4]))
def test_every_row_is_used_once(normal: int, anomalies: int, seed: int, contamination: float) -> None:
    """Training and test rows together are the table, and normal rows are halved."""
    sample = identified(normal + anomalies, anomalies, seed, contamination)
    used = np.concatenate([sample.train, sample.test])[:, 0]
    assert sorted(used) == list(range(normal + anomalies))
    assert len(sample.train) - sample.hidden == normal // 2
    assert (sample.anomalous == (sample.test[:, 0] < anomalies)).all()


@given(st.integers(10, 400), st.integers(1, 60), st.integers(0, 5), st.floats(0.001, 0.5))
def test_at_most_half_of_the_anomalies_are_hidden(normal: int, anomalies: int, seed: int, share: float) -> None:
    """What is hidden is really among the training rows, near the share asked for, and half of the anomalies stay."""
    sample = identified(normal + anomalies, anomalies, seed, share)
    assert int((sample.train[:, 0] < anomalies).sum()) == sample.hidden <= anomalies / 2
    assert sample.contamination <= share + 1 / len(sample.train)


def test_levels_of_contamination_are_nested() -> None:
    """A higher level hides the anomalies of a lower one and some more, among the same normal rows."""
    low, high = (identified(400, 100, 0, share) for share in (0.01, 0.1))
    assert set(low.train[:, 0]) < set(high.train[:, 0])
    normal = [sorted(s.train[s.train[:, 0] >= 100, 0]) for s in (low, high, identified(400, 100, 0))]
    assert normal[0] == normal[1] == normal[2]


def test_large_tables_are_sampled_down() -> None:
    """10,000 rows are left, at the table's anomaly rate but with at least 30 anomalies."""
    usual, rare = identified(40_000, 2_000, 0), identified(40_000, 40, 0)
    for sample, anomalies in ((usual, 500), (rare, LEAST_ANOMALIES)):
        assert len(sample.train) + len(sample.test) == MOST_ROWS
        assert sample.anomalous.sum() == anomalies


def test_small_sets_ask_for_a_higher_rate() -> None:
    """Under 600 normal rows the rate is 0.1; from there on it is the product's default."""
    assert identified(610, 11, 0, 0.05).target_fpr == 0.1
    assert identified(611, 11, 0, 0.05).target_fpr is None


def test_reads_a_folder(tmp_path: Path) -> None:
    """Sets come in the order of their numbers, and a file's rows become a frame with the columns x0, x1, ..."""
    x = np.arange(40, dtype=np.float64).reshape(20, 2)
    for name in ("10_ten", "9_nine"):
        np.savez(tmp_path / f"{name}.npz", X=x, y=np.arange(20) >= 16)
    assert names(tmp_path) == ["9_nine", "10_ten"]
    sample = load(tmp_path, "9_nine", seed=0)
    assert (len(sample.train), len(sample.test)) == (8, 12)
    assert frame(sample.train)["x1"].to_list() == sample.train[:, 1].tolist()


def test_a_folder_without_sets_is_refused(tmp_path: Path) -> None:
    """The folder is named."""
    with pytest.raises(FileNotFoundError, match=tmp_path.name):
        names(tmp_path)


@given(st.integers(20, 200), st.integers(1, 10), st.integers(10, 250), st.integers(0, 5))
def test_a_whole_table_is_sampled_at_its_share_of_anomalies(rows: int, odd: int, most: int, seed: int) -> None:
    """Or taken as it is, if it is small enough; rows stay in order and are drawn once."""
    with TemporaryDirectory() as folder:
        x = np.stack([np.arange(rows), np.zeros(rows)], axis=1)
        np.savez(Path(folder, "made up.npz"), X=x, y=(np.arange(rows) < odd).astype(int))
        drawn, anomalous = load_whole(Path(folder), "made up", most, seed)
    assert len(drawn) == min(rows, most)
    assert (np.diff(drawn[:, 0]) > 0).all()
    np.testing.assert_array_equal(anomalous, drawn[:, 0] < odd)
    assert abs(anomalous.sum() - odd * len(drawn) / rows) <= 1
