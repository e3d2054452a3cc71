import msgspec

from kilter.service.detector.findings import PartSizes, SourceFile
from kilter.service.detector.manifest import MemoryEntry
from kilter.service.detector.schema import LeftOut
from tests.support import detectors
from tests.support.runs import run


def flat(card: str) -> str:
    return " ".join(card.split())


def test_a_card_says_what_the_rate_promises_and_on_what_condition() -> None:
    """The Beta distribution with its mean and upper quantile, and exchangeability."""
    card = run(labelled=False).card
    assert "distributed as Beta(10, 190), with mean 5 %" in card
    assert "99.9 % quantile 11 %" in card
    assert "exchangeable" in card


def test_a_card_names_the_data_and_what_was_left_out_of_it() -> None:
    """Files, label, sizes, columns."""
    card = run(
        labelled=True,
        files=(SourceFile("a.csv", 3, "0"),),
        label="class",
        normal="ok",
        sizes=PartSizes(1_200, 199, 80),
    ).card
    assert "Files: `a.csv`. Rows whose `class` is `ok` counted as normal" in card
    assert "Rows by use: fit 1,200, calibration 199, held out 80." in card
    assert "`amount`, `age`, `colour`" in card
    assert "- `id`: its values are all different, like an identifier" in card


def test_a_card_shows_the_evaluation_with_intervals() -> None:
    """With labels the ranking comes first; without, only what is known."""
    labelled, unlabelled = run(labelled=True).card, run(labelled=False).card
    assert "| ROC AUC | 0.9" in labelled
    assert "| nearest neighbour | 0.930 | 0.800 |" in labelled
    assert "ROC AUC" not in unlabelled
    assert "| false-positive rate | 0.0" in unlabelled
    assert "No labels were used" in unlabelled


def test_a_card_says_whether_the_artifact_remembers_training_records() -> None:
    """Whoever shares a model must know."""
    made = run(labelled=False)
    assert "No memory of training records is part of the score." in flat(made.card)
    score = msgspec.structs.replace(made.manifest.score, memory=MemoryEntry(1024, "training rows"))
    card = made._replace(manifest=msgspec.structs.replace(made.manifest, score=score)).card
    assert "A memory of 1,024 training rows is part of the score" in flat(card)


def test_names_from_data_stay_inside_their_code_spans() -> None:
    """A backtick or a line break in a column's name does not break the card."""
    schema = msgspec.structs.replace(detectors.SCHEMA, left_out=(LeftOut("`rm`\n# Title", "it is text"),))
    card = run(labelled=False, schema=schema).card
    assert "- `'rm' # Title`: it is text" in card


def test_notes_and_warnings_come_first() -> None:
    """What the user should know stands before all sections but the first lines."""
    made = run(labelled=False, notes=("Mind the gap.",))
    card = made.but(warnings=("The fit is not finished.",)).card
    first = card.index("- The fit is not finished.")
    assert first < card.index("- Mind the gap.") < card.index("## What it was trained on")
