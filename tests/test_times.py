"""An instant is one value: in every tool's spelling, by the column's clock, and through every door."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kilter.service.detector import Detector, load
from kilter.service.detector.columns import TimestampColumn
from kilter.service.formats.scoring import score_file
from kilter.training.config import FitConfig, TrainConfig
from kilter.training.data.source import TrainingSource
from kilter.training.data.tables import as_polars, infer_columns, prepare
from kilter.training.pipeline import train_model
from tests.support.protocol_client import outputs, tensor
from tests.support.serving import Client, client
from tests.support.time_spellings import SPELLINGS, with_offset

ROWS = 300
FIRST = datetime(2024, 1, 15, 0, 0, 5)
DAYS = 120  # over the change to summer time
ZONE = "Europe/Berlin"


def usual_times(rows: int, rng: np.random.Generator) -> list[datetime]:
    """Instants in UTC that by the clock of `ZONE` lie between 8 and 18 o'clock."""
    days, minutes = rng.integers(0, DAYS, rows), rng.integers(8 * 60, 18 * 60, rows)
    there = [
        FIRST.replace(tzinfo=ZoneInfo(ZONE)) + timedelta(days=int(day), minutes=int(minute))
        for day, minute in zip(days, minutes, strict=True)
    ]
    return sorted(time.astimezone(UTC).replace(tzinfo=None) for time in there)


def name_of(spelling: str) -> str:
    """A column's name that says date."""
    return f"{spelling.replace(',', '')} date"


def row_of(time: datetime) -> dict[str, Any]:
    """A record with a column for each spelling, the last of them with the offset of `ZONE`."""
    return {name_of(name): spelling.write(time) for name, spelling in SPELLINGS.items()} | {
        "local": with_offset(time, ZONE).isoformat()
    }


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Detector:
    """A model of a file with a column for each spelling."""
    folder = tmp_path_factory.mktemp("times")
    times = usual_times(ROWS, np.random.default_rng(0))
    pl.DataFrame([row_of(time) for time in times]).write_csv(folder / "table.csv")
    train_model(
        TrainingSource((folder / "table.csv",)),
        "times",
        folder,
        TrainConfig(target_fpr=0.05, split="random", fit=FitConfig(steps=40)),
    )
    model = load(folder / "times")
    columns = [column for column in model.schema.columns if isinstance(column, TimestampColumn)]
    assert [column.format for column in columns] == [*(each.format for each in SPELLINGS.values()), "iso"]
    assert [column.clock for column in columns] == [*["UTC"] * len(SPELLINGS), ZONE]
    return model


@pytest.fixture(scope="module")
def http(model: Detector) -> Iterator[Client]:
    """A client of a service of the model."""
    with client(model) as http:
        yield http


ANYWHERE = ("iso", "iso and UTC, as BigQuery writes it", "as Java writes it", "RFC 1123", "RFC 2822")
"""Spellings that every column of times takes."""
moments = st.datetimes(FIRST, FIRST + timedelta(days=400)).map(lambda time: time.replace(microsecond=0, second=5))


def spelled(data: st.DataObject, times: list[datetime]) -> dict[str, list[Any]]:
    """Each column in its own spelling or in one that every column takes."""
    columns: dict[str, list[Any]] = {name: [] for name in row_of(times[0])}
    for time in times:
        for name, own in row_of(time).items():
            other = [SPELLINGS[spelling].write(time) for spelling in ANYWHERE]
            if name == "local":  # without an offset it would be a wall time
                other = [text for text in other if text != time.isoformat()]
                other += [with_offset(time, zone).isoformat() for zone in ("Asia/Tokyo", "America/New_York", ZONE)]
            columns[name].append(data.draw(st.sampled_from([own, other[data.draw(st.integers(0, len(other) - 1))]])))
    return columns


@settings(max_examples=12)
@given(data=st.data(), times=st.lists(moments, min_size=1, max_size=3))
def test_every_door_takes_every_spelling_for_the_same_instant(
    data: st.DataObject, times: list[datetime], model: Detector, http: Client, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A file of text or of types, a body of CSV or JSON, frames and tensors: one score for one meaning."""
    folder = tmp_path_factory.mktemp("doors")
    rows = [row_of(time) for time in times]
    wanted = model.score(rows).score
    found: dict[str, Any] = {}
    columns = spelled(data, times)
    records = [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]
    found["records"] = model.score(records).score
    texts = pl.DataFrame({name: [str(cell) for cell in cells] for name, cells in columns.items()})
    texts.write_csv(source := folder / "texts.csv", quote_style="always")
    path = "/v1/models/times/score"
    csv = http.post(path, content=source.read_bytes(), headers={"content-type": "text/csv"})
    for door, answer in (
        ("CSV in a body", csv),
        ("JSON", http.post(path, json={"records": records})),
        ("JSON by columns", http.post(path, json={"columns": columns})),
    ):
        assert answer.status_code == 200, answer.text
        found[door] = [result["score"] for result in answer.json()["results"]]
    typed = pl.DataFrame(
        {
            name: pl.Series(times).dt.replace_time_zone("UTC" if name == "local" else None)
            if data.draw(st.booleans())
            else pl.Series([row[name] for row in rows])
            for name in columns
        }
    )
    typed.write_parquet(folder / "typed.parquet")
    for file in (source, folder / "typed.parquet"):
        score_file(model, file, folder / "out.parquet", force=True)
        scored = pl.read_parquet(folder / "out.parquet")
        assert scored["kilter_error"].null_count() == len(times), scored["kilter_error"]
        found[file.name] = scored["kilter_score"].to_list()
    found["frame of polars"] = model.score(typed).score
    found["frame of texts"] = model.score(texts).score
    zoned = pd.Series(times).dt.tz_localize("UTC").dt.tz_convert(data.draw(st.sampled_from([ZONE, "Asia/Tokyo"])))
    found["frame of pandas"] = model.score(pd.DataFrame(records).assign(local=zoned)).score
    inputs = [
        tensor(name, "BYTES", list(map(str, cells)))
        if isinstance(rows[0][name], str)
        else tensor(name, "FP64", [float(row[name]) for row in rows])
        for name, cells in columns.items()
    ]
    found["tensors"] = outputs(http.post("/v2/models/times/infer", json={"inputs": inputs}).content)["score"]
    for door, scores in found.items():
        np.testing.assert_allclose(scores, wanted, rtol=1e-5, atol=1e-5, err_msg=door)


def flagged_after_the_change(written: list[str], later: list[str], folder: Path) -> float:
    """The share of later rows that a model of rows before the change to summer time flags."""
    rng = np.random.default_rng(1)
    table = pl.DataFrame({"at": written, "amount": rng.normal(50, 9, len(written))})
    table.write_csv(folder / "table.csv")
    train_model(
        TrainingSource((folder / "table.csv",)),
        "summer",
        folder,
        TrainConfig(target_fpr=0.05, split="random", fit=FitConfig(steps=200)),
    )
    amounts = rng.normal(50, 9, len(later))
    model = load(folder / "summer")
    return float(model.score([{"at": at, "amount": x} for at, x in zip(later, amounts, strict=True)]).anomaly.mean())


@pytest.mark.e2e
def test_summer_time_changes_no_verdict(tmp_path: Path) -> None:
    """Trained in winter, rows of summer at the same hours of the wall clock are as normal as before."""

    def written(month: int) -> list[str]:
        rng = np.random.default_rng(month)
        first = datetime(2024, month, 1, tzinfo=ZoneInfo(ZONE))
        days, minutes = rng.integers(0, 28, 1200), rng.integers(8 * 60, 12 * 60, 1200)
        return [
            (first + timedelta(days=int(day), minutes=int(minute))).isoformat()
            for day, minute in zip(days, minutes, strict=True)
        ]

    share = flagged_after_the_change(written(1), written(6), tmp_path)
    assert 0.02 < share < 0.09


def test_a_frame_of_pandas_keeps_the_clock_of_its_times() -> None:
    """By the name of its time zone, by offsets alone, or by those of single cells."""
    times = [with_offset(time, ZONE) for time in usual_times(300, np.random.default_rng(0))]
    zoned = pd.Series(pd.to_datetime([time.astimezone(UTC) for time in times])).dt.tz_convert(ZONE)
    fixed = pd.Series(pd.to_datetime([time.astimezone(UTC) for time in times])).dt.tz_convert("+01:00")
    single = pd.Series(times, dtype=object)
    frame = pd.DataFrame({"zoned": zoned, "fixed": fixed, "single": single})
    data = prepare(as_polars(frame), TrainingSource(frame=frame))
    clocks = {column.name: column.clock for column in data.draft.columns if isinstance(column, TimestampColumn)}
    assert clocks == {"zoned": ZONE, "fixed": "+01:00", "single": ZONE}
    wall = [time.replace(tzinfo=None) for time in times]
    assert data.table.columns["zoned"].tolist() == data.table.columns["single"].tolist() == wall


def test_a_doubt_is_said_where_columns_are_decided() -> None:
    """Beside the kind that a column was taken for."""
    seconds = [1_700_000_000 + 977 * i**2 % 10**6 for i in range(200)]
    days = [f"{1 + i % 12:02}/{1 + i * 5 % 12:02}/2024" for i in range(200)]
    _, decisions = infer_columns(pl.DataFrame({"x": seconds, "day": days}))
    assert "as Unix times in seconds they would be from 2023-11-14" in decisions[0].why
    assert "--timestamp x takes it for times" in decisions[0].why
    assert "may also be read as" in decisions[1].why
