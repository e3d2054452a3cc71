import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from kilter.service.detector import Detector, SeenRowsWarning
from kilter.service.detector.errors import ArtifactError
from kilter.service.detector.sketch import (
    HASHES,
    RECURRING,
    SIZE,
    Familiar,
    Sketch,
    row_hashes,
    sketch_of,
    sketch_tensors,
)
from tests.support.data import records

ROWS = arrays.arrays(
    np.float32,
    st.tuples(st.integers(1, 30), st.integers(1, 5)),
    elements=st.one_of(st.just(np.nan), st.sampled_from([0.0, -0.0, 1.0, -1.0]), st.floats(-9, 9, width=32)),
)


def sketch(fitted: np.ndarray[tuple[int, int], np.dtype[np.float32]], others: int = 0) -> Sketch:
    made = sketch_of(sketch_tensors(fitted[others:], fitted[:others]))
    assert made is not None
    return made


def rows(count: int, seed: int, width: int = 6) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    return np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)


@given(ROWS)
def test_rows_have_the_same_hash_if_and_only_if_they_are_the_same(
    x: np.ndarray[tuple[int, int], np.dtype[np.float32]],
) -> None:
    """Missing values are alike, and so are the two zeros; the order of rows does not matter."""
    hashes = row_hashes(x)
    distinct = {tuple(None if cell != cell else cell + 0.0 for cell in row) for row in x.tolist()}
    assert len(set(hashes.tolist())) == len(distinct)
    assert (row_hashes(x[::-1]) == hashes[::-1]).all()


def test_hashes_stay_what_they_are() -> None:
    """They are part of an artifact."""
    assert row_hashes(np.array([[0.0, 1.5], [np.nan, -2.0]], np.float32)).tolist() == [
        15910621809361246399,
        16818496138414560313,
    ]


@pytest.mark.parametrize("count", [100, 3 * SIZE])
def test_rows_of_the_training_are_known_again(count: int) -> None:
    """All of them, in a small training and in one of which a sample is kept; new ones are not, nor is a half of old."""
    seen, new = rows(count, 0), rows(count, 1)
    made = sketch(seen, count // 4)
    found = made.look_up(seen)
    assert found.known == found.tested == min(count, SIZE)
    assert made.holds_most(found)
    assert made.look_up(new).known == 0
    assert not made.holds_most(made.look_up(new))
    half = made.look_up(np.concatenate([seen[: count // 2], new[: count // 2]]))
    assert half.known == pytest.approx(half.tested / 2, rel=0.1)
    assert not made.holds_most(half)
    assert made.holds_most(made.look_up(np.concatenate([seen, new[: count // 4]])))


def test_rows_that_recur_by_nature_raise_no_doubt() -> None:
    """New rows of three flags are all equal to a training row, and are new all the same."""
    rng = np.random.default_rng(0)
    seen, new = ((rng.random((400, 3)) < 0.5).astype(np.float32) for _ in range(2))
    made = sketch(seen, 100)
    assert made.recurring == 1
    found = made.look_up(new)
    assert found.known == found.tested == 400
    assert not made.holds_most(found)


@pytest.mark.parametrize(("tested", "known", "most"), [(0, 0, False), (9, 9, False), (10, 10, True), (500, 251, False)])
def test_a_few_rows_prove_nothing(tested: int, known: int, most: bool) -> None:
    """Ten suffice if all of them are known."""
    assert Sketch(row_hashes(rows(20, 0)), 0.0).holds_most(Familiar(tested, known)) == most


def test_counts_add_up() -> None:
    """Batch by batch."""
    assert Familiar(3, 1).joined(Familiar(5, 4)) == Familiar(8, 5)


@pytest.mark.parametrize(
    "tensors",
    [
        {HASHES: np.array([2, 1], np.uint64), RECURRING: np.array([0.0])},
        {HASHES: np.array([1.0]), RECURRING: np.array([0.0])},
        {HASHES: np.zeros(0, np.uint64)},
        {HASHES: np.zeros(0, np.uint64), RECURRING: np.array([1.5])},
    ],
)
def test_what_is_no_sketch_is_refused(tensors: dict[str, np.ndarray[tuple[int], np.dtype[np.float64]]]) -> None:
    """An artifact is input; one without a sketch is of before there was one."""
    with pytest.raises(ArtifactError, match="tensor 'sketch"):
        sketch_of(tensors)
    assert sketch_of({}) is None


def test_python_warns_of_rows_that_were_trained_on(detector: Detector) -> None:
    """Records in any form; new ones, and a table that the caller has read, are judged without a word."""
    seen = records(np.random.default_rng(0), 600)
    with pytest.warns(SeenRowsWarning, match="most of these records were in the training"):
        warned = detector.score(seen)
    table = detector.table(seen)
    assert (detector.score(table).score == warned.score).all()
    assert detector.was_trained_on(warned.features)
    new = detector.score(records(np.random.default_rng(99), 100))
    assert not detector.was_trained_on(new.features)
    assert detector.at_rate(0.1).sketch is detector.sketch
