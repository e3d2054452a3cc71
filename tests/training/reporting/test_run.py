import dataclasses

import msgspec
import numpy as np
import pytest

from kilter.service.detector.findings import Figure
from kilter.service.detector.inputs import Table
from kilter.training.reporting.run import Scored, evaluation_in_words, percent, promise_in_words, with_interval
from tests.support.runs import run


@pytest.mark.parametrize(("rate", "text"), [(0.01, "1 %"), (0.005, "0.5 %"), (0.12345, "12.3 %"), (1.0, "100 %")])
def test_a_rate_has_as_many_digits_as_it_needs(rate: float, text: str) -> None:
    """And no more."""
    assert percent(rate) == text


def test_a_figure_stands_with_its_interval() -> None:
    """If it has one."""
    assert with_interval(Figure(0.97123, 0.95, 0.99)) == "0.971 (0.950 to 0.990)"
    assert with_interval(Figure(0.5), as_percent=True) == "50 %"
    assert with_interval(Figure(None)) == "–"


def test_a_promise_is_one_sentence_with_three_numbers() -> None:
    """Size, mean and upper rate."""
    text, *_ = promise_in_words(run(labelled=False).manifest.calibration)
    assert text == (
        "Of new records like the 199 normal ones that it was calibrated on, 5 % are flagged on average, and with "
        "99.9 % certainty no more than 11 % in the long run."
    )


@pytest.mark.parametrize(
    ("flagged", "within", "start"),
    [
        (40, True, "The false-alarm rate holds: 40 of 800"),
        (99, False, "More false alarms than promised: 99 of 800"),
        (1, False, "Fewer false alarms than promised: 1 of 800"),
        (40, None, "The false-alarm rate was not checked"),
    ],
)
def test_the_promise_is_judged(flagged: int, within: bool | None, start: str) -> None:
    """Kept, broken upwards, broken downwards, not checked."""
    found = msgspec.structs.replace(run(labelled=False).run.evaluation, flagged=flagged, within_promise=within)
    (sentence,) = evaluation_in_words(found)
    assert sentence.startswith(start)


@pytest.mark.parametrize(
    ("auc", "word"), [(0.99, "almost perfectly"), (0.95, "well"), (0.8, "fairly"), (0.65, "weakly"), (0.3, "hardly")]
)
def test_a_bad_ranking_is_called_bad(auc: float, word: str) -> None:
    """The words follow the figure."""
    evaluation = run(labelled=True).run.evaluation
    assert evaluation.labelled is not None
    labelled = msgspec.structs.replace(evaluation.labelled, roc_auc=Figure(auc))
    assert f"normal rows {word}" in evaluation_in_words(msgspec.structs.replace(evaluation, labelled=labelled))[0]


def test_the_strangest_rows_come_first_and_broken_ones_never() -> None:
    """Rows of the same score keep their order."""
    scored = Scored(Table({}, 5, []), np.array([1.0, np.nan, 3.0, 3.0, 2.0]), np.arange(5))
    assert scored.strangest(3).tolist() == [2, 3, 4]
    assert scored.strangest(9).tolist() == [2, 3, 4, 0]


def test_calibration_rows_are_not_held_out() -> None:
    """A run has held-out rows only where its normal rows are fresh."""
    made = run(labelled=False).run
    assert made.held_out is made.normal
    assert dataclasses.replace(made, fresh=False).held_out is None
