import dataclasses
import re

import msgspec
import numpy as np
import pytest

from kilter.service.detector.findings import Counts, Figure, LabelledFigures
from kilter.service.detector.inputs import Table
from kilter.training.evaluation.evaluate import evaluate_rows
from kilter.training.reporting.run import (
    Scored,
    alerts_in_words,
    evaluation_in_words,
    percent,
    promise_in_words,
    with_interval,
)
from tests.support import detectors
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
        (40, None, "The false-alarm rate was not checked: the normal rows are not new to the model"),
    ],
)
def test_the_promise_is_judged(flagged: int, within: bool | None, start: str) -> None:
    """Kept, broken upwards, broken downwards, not checked."""
    found = msgspec.structs.replace(run(labelled=False).run.evaluation, flagged=flagged, within_promise=within)
    (sentence,) = evaluation_in_words(found)
    assert sentence.startswith(start)


@pytest.mark.parametrize(
    ("f1", "word"),
    [(0.99, "almost perfectly"), (0.85, "well"), (0.65, "fairly"), (0.4, "weakly"), (0.1, "hardly at all")],
)
def test_a_bad_threshold_is_called_bad(f1: float, word: str) -> None:
    """The words follow the threshold in use, and not the ranking, which may be the best that there is."""
    evaluation = run(labelled=True).run.evaluation
    assert evaluation.labelled is not None
    labelled = msgspec.structs.replace(evaluation.labelled, f1=Figure(f1), roc_auc=Figure(0.999), best_f1=0.8)
    first, second, *_ = evaluation_in_words(msgspec.structs.replace(evaluation, labelled=labelled))
    assert f"normal rows {word}: it flags 1" in first
    assert "where 15.8 % are anomalies, as here, " in first
    assert first.endswith("of its flags are right. This rests on 150 labelled anomalies.")
    assert second.startswith("Its ranking, whatever the threshold, has a ROC AUC of 0.999")
    assert ("see --f-beta" in second) == (f1 < 0.7)


def test_anomalies_alone_are_counted() -> None:
    """Without normal rows nothing is said of precision, and the rate is not called checked."""
    found = evaluate_rows(detectors.detector(), detectors.rows(20, 1, shift=3.0), np.ones(20, bool), seed=0)
    first, last = evaluation_in_words(found)
    assert re.fullmatch(r"It flags \d+ of 20 labelled anomalies\.", first)
    assert last == "The false-alarm rate was not checked: there were no normal rows."


@pytest.mark.parametrize(("flagged", "start"), [(4, "The false-alarm rate holds"), (30, "More"), (0, "Fewer")])
def test_a_cross_check_is_called_what_it_is(flagged: int, start: str) -> None:
    """The sentence names the rows, the folds, and the rate with its interval."""
    table = detectors.rows(99, 1)
    verdicts = detectors.detector().score(table)._replace(anomaly=np.arange(99) < flagged)
    found = evaluate_rows(detectors.detector(), table, None, seed=0, verdicts=verdicts, folds=5, expected=(1, 8))
    (sentence,) = evaluation_in_words(found)
    assert sentence.startswith(f"{start}")
    assert f"{flagged} of 99 calibration rows are flagged, {percent(flagged / 99)} (" in sentence
    assert "each of 5 parts of the calibration rows was judged by the threshold that the others give" in sentence


def test_alerts_are_told_per_thousand_and_per_day() -> None:
    """Of normal records alone, or of a mix with its true ones; per day where that is known."""
    assert alerts_in_words(0.01) == (
        "Alerts to expect: 10 in 1,000 normal records, all of them false; true ones come on top."
    )
    assert alerts_in_words(0.01, None, 2412.0).endswith(". At the 2,400 records a day of the training rows: 24 a day.")
    nothing = Figure(None)
    counts = Counts(40, 1, 99, 10)
    figures = LabelledFigures(counts, nothing, nothing, nothing, Figure(0.8), nothing, None, 99.5)
    assert alerts_in_words(0.01, figures) == (
        "Alerts to expect: 14 in 1,000 records of which 0.5 % are anomalies, 10 of them false."
    )


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
