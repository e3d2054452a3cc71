from pathlib import Path

import pytest

from kilter.service.detector import KilterError
from kilter.training.data.tables import read_labelled_table
from tests.support.detectors import SCHEMA
from tests.support.manifests import training

TRAINING = training(label="class", normal="ok")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Five rows, one without a label, one of a colour that training never saw."""
    path = tmp_path / "rows.csv"
    path.write_text("class,amount,age,colour\nok,1,2,red\nbad,3,4,blue\n,5,6,red\nok,,8,green\nworse,9,10,red\n")
    return path


def test_labels_are_taken_as_in_training(path: Path) -> None:
    """The column and its normal value need not be given again, and rows without a label are left out."""
    found = read_labelled_table(path, SCHEMA, TRAINING, None, None, None)
    assert found.anomalous is not None
    assert found.anomalous.tolist() == [False, True, False, True]
    assert found.table.columns["age"].tolist() == [2, 4, 8, 10]
    assert found.normal().columns["age"].tolist() == [2, 8]
    assert "Rows left out, since they have no label: 1." in found.notes


def test_what_is_given_goes_before_what_training_says(path: Path) -> None:
    """Another value, or another column with its value."""
    found = read_labelled_table(path, SCHEMA, TRAINING, "class", "bad", None)
    assert found.anomalous is not None
    assert found.anomalous.tolist() == [True, False, True, True]
    found = read_labelled_table(path, SCHEMA, TRAINING, "colour", "red", None)
    assert found.anomalous is not None
    assert found.anomalous.tolist() == [False, True, False, True, False]


def test_without_a_label_column_every_row_is_normal(path: Path) -> None:
    """If the model had no labels, or the file lacks the column."""
    for said in (training(), training(label="kind", normal="ok")):
        found = read_labelled_table(path, SCHEMA, said, None, None, None)
        assert found.anomalous is None
        assert found.normal().rows == 5


@pytest.mark.parametrize(
    ("label", "normal", "message"),
    [
        ("class", None, r"say which value of 'class' is normal, with --normal; it has 'ok' \(2\)"),
        ("class", "fine", "no row has 'fine' in 'class'"),
        ("kind", "ok", "there is no column 'kind'"),
        (None, "ok", "name the column with --label"),
    ],
)
def test_labels_that_cannot_be_used_are_refused(
    path: Path, label: str | None, normal: str | None, message: str
) -> None:
    """The message names what is there."""
    with pytest.raises(KilterError, match=message):
        read_labelled_table(path, SCHEMA, training(), label, normal, None)
