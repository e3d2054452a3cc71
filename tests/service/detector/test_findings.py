"""Tests of `detector.findings`: plain data, which a manifest holds and gives back."""

import msgspec
import pytest

from kilter.service.detector.findings import Counts, Evaluation, Figure, LabelledFigures, Remedy, SourceFile, Training
from tests.support.manifests import training

HALF, NOTHING = Figure(0.5, 0.4, 0.6), Figure(None)
EVALUATION = Evaluation(
    rows=10,
    problems=0,
    normal=8,
    flagged=1,
    target_fpr=0.1,
    promised_fpr=0.1,
    false_positive_rate=HALF,
    expected_flags=(0, 3),
    within_promise=True,
    elbo=Figure(-3.0),
    reconstruction=Figure(2.0),
    kl=Figure(1.0),
    labelled=None,
    notes=(),
)


def test_the_figures_of_labels_come_first() -> None:
    """They say most; without labels there are only the others."""
    others = ["false-positive rate", "ELBO, nats", "reconstruction, nats", "KL, nats"]
    assert [*EVALUATION.figures()] == others
    figures = LabelledFigures(Counts(1, 1, 7, 1), HALF, NOTHING, NOTHING, NOTHING, NOTHING, 0.75)
    labelled = msgspec.structs.replace(EVALUATION, labelled=figures).figures()
    names = ["ROC AUC", "average precision", "precision", "recall", "F1", "best F1 of any threshold"]
    assert [*labelled] == [*names, *others]
    assert labelled["ROC AUC"] == HALF
    assert labelled["best F1 of any threshold"] == Figure(0.75)


@pytest.mark.parametrize(
    ("remedy", "helped"),
    [
        (Remedy(None), False),
        (Remedy(("a", "b"), 0.3, -5.0, -4.9), True),
        (Remedy(("a", "b"), 0.3, -5.0, -5.0), False),
        (Remedy(("a", "b"), 0.3, -5.0, -5.1), False),
    ],
)
def test_a_remedy_helped_if_the_second_fit_is_better(remedy: Remedy, helped: bool) -> None:
    """By its ELBO, which is to be higher."""
    assert remedy.helped is helped


def test_a_training_file_is_known_again_by_its_content() -> None:
    """Whatever its name is now."""
    files = (SourceFile("a.csv", 10, "0" * 64), SourceFile("pictures", 20, "1" * 64, 3))
    model = training(files=files)
    assert model.was_trained_on("1" * 64)
    assert not model.was_trained_on("2" * 64)


def test_what_training_says_is_read_back_as_it_was_written() -> None:
    """Fields that say nothing are left out of the file."""
    wanted = training(files=(SourceFile("a.csv", 10, "0" * 64),), evaluation=EVALUATION, normal="ok")
    content = msgspec.json.encode(wanted)
    assert msgspec.json.decode(content, type=Training) == wanted
    plain = msgspec.json.decode(msgspec.json.encode(training()))
    assert "evaluation" not in plain
    assert "recalibration" not in plain
    assert plain["diagnosis"] is None
    with pytest.raises(msgspec.ValidationError, match="unknown field `surprise`"):
        msgspec.convert({**plain, "surprise": 1}, Training)
