"""Tests of `detector.shifts`: what most of a file's values are, in words, and nothing where nothing has changed."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kilter.service.detector import Detector, load
from kilter.service.detector.shifts import ColumnTally, Shift, are_new, count_columns, lost
from kilter.service.formats.scoring import score_file
from kilter.training.config import FitConfig, TrainConfig
from kilter.training.data.source import TrainingSource
from kilter.training.pipeline import train_model

ROWS = 600
COUNTRIES = ["DE", "FR", "IT", "ES", "PL"]


def rows(seed: int, count: int = ROWS) -> pl.DataFrame:
    """Normal rows with a column of every kind."""
    rng = np.random.default_rng(seed)
    return pl.DataFrame(
        {
            "country": rng.choice(COUNTRIES, count, p=[0.4, 0.3, 0.15, 0.1, 0.05]),
            "amount": rng.lognormal(3, 0.8, count).round(2),
            "temperature": rng.normal(0, 5, count).round(2),
            "items": rng.poisson(4, count),
            "ok": rng.choice(["yes", "no"], count),
            "note": np.where(rng.random(count) < 0.3, "", "A"),
            "fixed": np.full(count, 7),
            "at": [f"2024-{1 + i % 6:02}-{1 + i % 28:02}T{i % 24:02}:00:00" for i in range(count)],
        }
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Detector:
    """A model of such rows."""
    folder = tmp_path_factory.mktemp("shifts")
    rows(0).write_csv(folder / "table.csv")
    config = TrainConfig(target_fpr=0.05, split="random", fit=FitConfig(steps=40))
    train_model(TrainingSource((folder / "table.csv",)), "shifts", folder, config)
    return load(folder / "shifts")


def shifts_of(model: Detector, frame: pl.DataFrame, batches: int = 1) -> dict[str, Shift]:
    """What is said of a frame that comes in some batches, by field."""
    tally = ColumnTally(model.modality, model.reference)
    for part in frame.iter_slices(max(1, -(-len(frame) // batches))):
        table = model.table(part)
        tally.add(count_columns(model.modality, table, model.score(table, errors="mark").features))
    found = tally.shifts()
    assert len({(shift.field, shift.how) for shift in found}) == len(found)
    return {shift.field: shift for shift in found}


@settings(max_examples=12)
@given(seed=st.integers(1, 10**6), count=st.integers(0, 1500), batches=st.integers(1, 5))
def test_of_rows_like_those_of_training_nothing_is_said(model: Detector, seed: int, count: int, batches: int) -> None:
    """However many there are."""
    assert shifts_of(model, rows(seed, count), batches) == {}


@pytest.mark.parametrize(
    ("change", "how"),
    [
        (str.lower, "in upper case"),
        (lambda text: f" {text} ", "without the blanks around them"),
        (lambda text: f"0{text}", "without leading zeros"),
    ],
)
@settings(max_examples=5)
@given(seed=st.integers(1, 10**6), share=st.floats(0.6, 1))
def test_another_spelling_of_levels_is_said_with_its_remedy(
    model: Detector, change: Any, how: str, seed: int, share: float
) -> None:
    """With the share of them, in however many batches they come."""
    frame = rows(seed)
    new = np.random.default_rng(seed).random(ROWS) < share
    cells = [change(text) if is_new else text for text, is_new in zip(frame["country"], new, strict=True)]
    shifts = shifts_of(model, frame.with_columns(country=pl.Series(cells)), 3)
    assert shifts.keys() == {"country"}
    assert shifts["country"].words == (
        f"{new.mean():.0%} of 'country' are values that training never saw; all would be known {how}"
    )
    assert (shifts["country"].how, shifts["country"].share) == ("new", new.mean())


@settings(max_examples=12)
@given(
    seed=st.integers(1, 10**6),
    factor=st.sampled_from([1 / 1000, 1 / 60, 0.01, 0.1, 10, 60, 100, 1000, 1024, 3600, 1e6]),
    name=st.sampled_from(["amount", "temperature"]),
)
def test_another_unit_is_said_with_its_factor(model: Detector, seed: int, factor: float, name: str) -> None:
    """Of positive numbers and of those on both sides of zero, also where all lie within the range of training."""
    shifts = shifts_of(model, rows(seed).with_columns(pl.col(name) * factor))
    assert shifts.keys() == {name}
    large = max(factor, 1 / factor)
    words = {1000: "1,000 (or 1,024)", 1024: "1,000 (or 1,024)", 1e6: "1,000,000 (or 1,048,576)"}.get(
        round(large), f"{round(large):,}"
    )
    assert shifts[name].words == (
        f"the values of {name!r} are about {'' if factor > 1 else '1/'}{words} times as large as in training"
    )
    assert shifts[name].how == "scale"


def test_what_else_most_values_can_be(model: Detector) -> None:
    """Missing, new without a remedy, outside of the range, no flag, no longer constant."""
    frame = rows(3)
    words = {
        name: shift.words
        for name, shift in shifts_of(
            model,
            frame.with_columns(
                country=pl.Series(["X1", "X2", "X3", "X4"] * 150),
                amount=pl.Series([None] * 540 + [9.5] * 60, dtype=pl.Float64),
                temperature=pl.col("temperature") + 300,
                ok=pl.Series([2] * ROWS),
                fixed=pl.Series([8] * ROWS),
                at=pl.lit(None, pl.String),
            ),
        ).items()
    }
    assert words == {
        "country": "100% of 'country' are values that training never saw, like 'X1', 'X2', 'X3'",
        "amount": "90% of 'amount' are missing; of the fitting rows 0% were",
        "temperature": words["temperature"],
        "ok": "100% of 'ok' lie outside of what training saw (yes or no)",
        "fixed": "100% of 'fixed' lie outside of what training saw (always 7)",
        "at": "100% of 'at' are missing; of the fitting rows 0% were",
    }
    assert words["temperature"].startswith("100% of 'temperature' lie outside of what training saw (-")
    assert "and half are above 300" in words["temperature"] or "and half are above 299" in words["temperature"]


def test_a_few_records_say_nothing_and_a_missing_half_is_usual_where_it_was(model: Detector) -> None:
    """What one record has of it is evidence, with its reasons."""
    frame = rows(4, 19).with_columns(country=pl.lit("X"))
    assert shifts_of(model, frame) == {}
    half = rows(4).with_columns(note=pl.when(pl.int_range(pl.len()) % 2 == 0).then(pl.lit("A")))
    assert shifts_of(model, half) == {}
    assert lost(0.6, 0.5) == pytest.approx(0.2)
    assert lost(0.1, 0.5) == 0


def test_a_score_says_it_once(model: Detector, tmp_path: Path) -> None:
    """In the summary, over all batches; records in error do not count."""
    frame = rows(5, 3000).with_columns(country=pl.col("country").str.to_lowercase())
    frame.write_csv(tmp_path / "new.csv")
    text = (tmp_path / "new.csv").read_text().splitlines()
    text[1:100] = [line.replace(line.split(",")[1], "much", 1) for line in text[1:100]]
    (tmp_path / "new.csv").write_text("\n".join(text) + "\n")
    summary = score_file(model, tmp_path / "new.csv", tmp_path / "out.csv")
    assert summary.errors == 99
    assert [shift.words for shift in summary.shifts] == [
        "100% of 'country' are values that training never saw; all would be known in upper case"
    ]
    with (tmp_path / "out.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 3000


def test_a_value_is_new_beyond_those_of_the_fitting_rows(model: Detector) -> None:
    """By the features of records; the smallest and the largest are not."""
    watched = model.modality.watched
    low, high = np.array([[one.low for one in watched], [one.high for one in watched]], np.float32)
    assert not are_new(np.stack([low, high, np.full(len(low), np.nan, np.float32)]), watched).any()
    assert are_new(np.stack([low - 1, high + 1]), watched).all()


@pytest.mark.parametrize("batches", [1, 3])
def test_what_was_counted_can_be_added_elsewhere(model: Detector, batches: int) -> None:
    """With the values of fewer records; the same is then to be said, of shares that are estimated by them nearly."""
    frame = rows(7).with_columns(pl.col(pl.String).str.to_lowercase())
    whole = ColumnTally(model.modality, model.reference)
    joined = ColumnTally(model.modality, model.reference)
    for part in frame.iter_slices(-(-len(frame) // batches)):
        table = model.table(part)
        counts = count_columns(model.modality, table, model.score(table, errors="mark").features)
        own = ColumnTally(model.modality, model.reference)
        for tally in (whole, own):
            tally.add(counts)
        few = own.counts(50)
        assert {len(values) for values in few.sample.values()} <= set(range(40, 51))
        assert few.records == table.rows
        joined.add(few)
    assert [shift[:3] for shift in whole.shifts()] == [shift[:3] for shift in joined.shifts()] != []
    assert len(next(iter(whole.counts().sample.values()))) > 300
