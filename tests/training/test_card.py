import dataclasses

import msgspec

from kilter.service.detector.schema import LeftOut
from kilter.training.card import model_card
from tests.support import detectors
from tests.support.runs import run


def flat(card: str) -> str:
    return " ".join(card.split())


def test_a_card_says_what_the_rate_promises_and_on_what_condition() -> None:
    """The Beta distribution with its mean and upper quantile, and exchangeability."""
    card = model_card(run(labelled=False))
    assert "distributed as Beta(10, 190), with mean 5 %" in card
    assert "99.9 % quantile 11 %" in card
    assert "exchangeable" in card


def test_a_card_names_the_data_and_what_was_left_out_of_it() -> None:
    """Files, label, sizes, columns."""
    card = model_card(
        run(labelled=True, files=[{"name": "a.csv"}], label="class", normal="ok", sizes={"fit": 1_200, "held_out": 80})
    )
    assert "Files: `a.csv`. Rows whose `class` is `ok` counted as normal" in card
    assert "Rows by use: fit 1,200, held out 80." in card
    assert "`amount`, `age`, `colour`" in card
    assert "- `id`: its values are all different, like an identifier" in card


def test_a_card_shows_the_evaluation_with_intervals() -> None:
    """With labels the ranking comes first; without, only what is known."""
    labelled, unlabelled = model_card(run(labelled=True)), model_card(run(labelled=False))
    assert "| ROC AUC | 0.9" in labelled
    assert "| nearest neighbour | 0.930 | 0.800 |" in labelled
    assert "ROC AUC" not in unlabelled
    assert "| false-positive rate | 0.0" in unlabelled
    assert "No labels were used" in unlabelled


def test_a_card_says_whether_the_artifact_remembers_training_records() -> None:
    """Whoever shares a model must know."""
    made = run(labelled=False)
    assert "No memory of training records is part of the score." in flat(model_card(made))
    manifest = msgspec.structs.replace(
        made.manifest, network={"kind": "squares", "neighbours": {"memory": {"core": 1000, "suspects": 24}}}
    )
    card = model_card(dataclasses.replace(made, manifest=manifest))
    assert "A memory of 1,024 training rows is part of the score" in flat(card)


def test_names_from_data_stay_inside_their_code_spans() -> None:
    """A backtick or a line break in a column's name does not break the card."""
    schema = msgspec.structs.replace(detectors.SCHEMA, left_out=(LeftOut("`rm`\n# Title", "it is text"),))
    card = model_card(run(labelled=False, schema=schema))
    assert "- `'rm' # Title`: it is text" in card


def test_notes_and_warnings_come_first() -> None:
    """What the user should know stands before all sections but the first lines."""
    made = run(labelled=False, notes=("Mind the gap.",))
    assert made.diagnosis is not None
    diagnosis = msgspec.structs.replace(made.diagnosis, notes=("The fit is not finished.",))
    card = model_card(dataclasses.replace(made, diagnosis=diagnosis))
    first = card.index("- The fit is not finished.")
    assert first < card.index("- Mind the gap.") < card.index("## What it was trained on")
