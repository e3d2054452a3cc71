"""Tests of `detector.manifest`: typed throughout, and what it says of thresholds in words."""

import msgspec
import pytest

from kilter.service.detector.artifact import read_artifact
from kilter.service.detector.columns import decode_column
from kilter.service.detector.manifest import (
    Choice,
    ChoiceEvidence,
    Estimate,
    Grouping,
    GroupPromise,
    Manifest,
    Promise,
    ScoreEntry,
    Way,
    choice_in_words,
)
from tests.support.artifacts import ARTIFACTS

PROMISE = Promise(199, 0.05, 10, 3.5, 0.05, 0.11, "random")


@pytest.mark.parametrize("name", ["format-1", "format-1-grouped", "format-1-pictures", "format-2"])
def test_a_manifest_is_read_back_as_it_was_written(name: str) -> None:
    """Columns of every kind, shapes that nobody but the plug-in reads, and all that training found."""
    manifest = read_artifact(ARTIFACTS / name).manifest
    values = msgspec.json.decode(msgspec.json.encode(manifest))
    assert msgspec.convert(values, Manifest, dec_hook=decode_column) == manifest


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"grid": [3]}, "length 2"),
        ({"memory": {"rows": "many", "of": "rows"}}, r"Expected `int`, got `str` - at `\$.memory.rows`"),
        ({"backbone": {"file": "x"}}, "missing required field `sha256`"),
        ({"surprise": 1}, "unknown field `surprise`"),
        ({"digits": None}, r"Expected `int`, got `null`"),
    ],
)
def test_a_part_of_another_type_is_refused(change: dict[str, object], message: str) -> None:
    """It is untrusted input; what only the score itself reads may be anything."""
    entry = ScoreEntry("elbo", "elbo", "nats", 4, 1e-4, {"anything": [1, {"at": "all"}]})
    values = msgspec.to_builtins(entry)
    assert msgspec.convert(values, ScoreEntry) == entry
    with pytest.raises(msgspec.ValidationError, match=message):
        msgspec.convert(values | change, ScoreEntry)


def test_no_mix_of_groups_exceeds_the_highest_of_their_rates() -> None:
    """Nor that of all, which judges whoever is in no group."""
    assert PROMISE.highest_upper_fpr == 0.11
    groups = tuple(GroupPromise(name, 19, 1, 2.0, 0.05, upper) for name, upper in (("a", 0.3), ("b", 0.2)))
    assert msgspec.structs.replace(PROMISE, by_group=Grouping("site", groups)).highest_upper_fpr == 0.3
    assert msgspec.structs.replace(PROMISE, by_group=Grouping("site", ())).highest_upper_fpr == 0.11


EVIDENCE = ChoiceEvidence(1_200, 30, 0.02, True, Estimate(0.8, 0.7, 0.9), Estimate(0.012, 0.01, 0.02))


@pytest.mark.parametrize(
    ("by", "inputs", "words"),
    [
        ("default", {}, "is the default: of 1, 2, 5 and 10 % the lowest supported."),
        ("rate", {}, "was asked for."),
        (
            "alerts-per-day",
            {"alerts_per_day": 5.0, "records_per_day": 1e4},
            "was chosen for 5 alerts per day at 10000 records per day, all of them false ones: true ones come on top.",
        ),
        ("f-beta", {"f_beta": 2.0}, "was chosen for the best F-beta, beta 2."),
        (
            "cost",
            {"cost_false_alarm": 1.0, "cost_miss": 10.0},
            "was chosen for the least expected cost, with 1 for a false alarm and 10 for a missed anomaly.",
        ),
        (
            "recall-at-precision",
            {"recall_at_precision": 0.9},
            "was chosen for the highest recall at a precision of at least 0.9.",
        ),
    ],
)
def test_every_way_to_choose_a_rate_has_its_words(by: Way, inputs: dict[str, float], words: str) -> None:
    """With what was asked for."""
    assert choice_in_words(Choice(by, inputs), 99) == f"The target false-positive rate {words}"


@pytest.mark.parametrize(
    ("by", "inputs", "figure"),
    [
        ("f-beta", {"f_beta": 1.0}, "F-beta"),
        ("cost", {"cost_false_alarm": 1.0, "cost_miss": 10.0}, "expected cost per record"),
        ("recall-at-precision", {"recall_at_precision": 0.9}, "recall"),
    ],
)
def test_a_choice_by_labels_says_what_it_rests_on(by: Way, inputs: dict[str, float], figure: str) -> None:
    """The rows, the figure and the rate with their intervals, and what is doubtful about it."""
    words = choice_in_words(Choice(by, inputs, EVIDENCE), 99)
    assert "on 1,200 normal rows and 30 labelled anomalies, weighted so that 2 % are anomalies." in words
    assert f"There the {figure} is 0.8 (0.7 to 0.9), and the rate came out as 0.012 (0.01 to 0.02)" in words
    assert words.endswith("(95 % bootstrap intervals).")
    lowest = msgspec.structs.replace(EVIDENCE, edge="lowest", held_out=False)
    words = choice_in_words(Choice(by, inputs, lowest), 99)
    assert "It is the lowest rate that 99 calibration rows can express" in words
    assert words.endswith("The normal rows were those of the calibration, so that the promise holds only nearly.")
    highest = msgspec.structs.replace(EVIDENCE, edge="highest")
    assert "It is the highest rate that is allowed" in choice_in_words(Choice(by, inputs, highest), 99)
