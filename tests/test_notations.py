"""Formatted numbers, durations, times of day and codes mean the same wherever they come from, and however spelled."""

from collections.abc import Callable, Iterator
from datetime import datetime, time, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kilter.service.detector import Detector, Reason, load
from kilter.service.detector.columns import NumericColumn
from kilter.service.detector.inputs import from_frame, from_records
from kilter.service.formats.reading import read_frame, to_table
from kilter.service.formats.scoring import score_file
from kilter.training.config import FitConfig, TrainConfig
from kilter.training.data.source import TrainingSource
from kilter.training.data.tables import infer_columns
from kilter.training.pipeline import train_model
from tests.support.protocol_client import outputs, tensor
from tests.support.serving import Client, client
from tests.support.styles import STYLES, spelled_in

ROWS = 400
NBSP, THIN = "\N{NO-BREAK SPACE}", "\N{THIN SPACE}"


class Field(NamedTuple):
    """A column: how training spells a value, other texts of the same, and what typed sources hold."""

    values: st.SearchStrategy[Any]
    first: Callable[[Any], str]
    texts: Callable[[Any], list[str]]
    typed: Callable[[Any], list[Any]]
    """Cells of JSON and of frames, besides texts."""
    table: Callable[[Any], Any]
    """The cell of a typed table."""
    kind: str = "numeric"


def german(value: float, places: int = 2, thousands: str = ".") -> str:
    return f"{value:,.{places}f}".replace(",", "_").replace(".", ",").replace("_", thousands)


def spelled(value: float) -> str:
    return f"{int(value) // 3600:02}:{int(value) % 3600 // 60:02}:{int(value) % 60:02}"


def clock(value: int) -> time:
    return time(value // 3600, value % 3600 // 60, value % 60)


def number(value: float) -> list[Any]:
    return [value, np.float64(value), *([int(value)] if value == int(value) else [])]


cents = st.integers(0, 2_000_000).map(lambda hundredths: hundredths / 100)
tenths = st.integers(0, 50_000).map(lambda tenth: tenth / 10)
FIELDS = {
    "price": Field(
        cents,
        lambda x: f"{german(x)} EUR",
        lambda x: [
            german(x),
            f"€{german(x)}",
            f"EUR {german(x, thousands=' ')}",
            f"{german(x, thousands=THIN)}{NBSP}€",
        ],
        number,
        float,
    ),
    "share": Field(tenths, lambda x: f"{x} %", lambda x: [f"{x}%", f"{x}", f"{x:.3f} percent"], number, float),
    "latency": Field(
        tenths,
        lambda x: f"{x} ms",
        lambda x: [f"{x}ms", f"{x}", f"{x / 1000:.4f} s", f"{1000 * x:.0f} µs"],
        number,
        float,
    ),
    "balance": Field(
        st.integers(-500_000, 500_000).map(lambda hundredths: hundredths / 100),
        lambda x: f"({-x:,.2f})" if x < 0 else f"{x:,.2f}",
        lambda x: [f"{x:,.2f}", f"{x:.2f}", f"{x:,.2f}".replace("-", "−"), f"{abs(x):.2f}-" if x < 0 else f"+{x}"],
        number,
        float,
    ),
    "visits": Field(
        st.integers(0, 9000),
        lambda x: f"{x:,}",
        lambda x: [f"{x}", f"{x:,}.0", f"{x:,}".replace(",", "'")],
        number,
        int,
    ),
    "quoted": Field(tenths, lambda x: f"'{x}'", lambda x: [f"{x}", f"'{x}", f'"{x}"', f"’{x}’"], number, float),
    "took": Field(
        st.integers(0, 20_000),
        spelled,
        lambda x: [str(timedelta(seconds=x)), f"0 days {spelled(x)}", f"PT{x}S", f"{x}", f"{x // 60}m {x % 60}s"],
        lambda x: [x, float(x)],
        lambda x: timedelta(seconds=x),
    ),
    "opened": Field(
        st.integers(0, 86_399),
        spelled,
        lambda x: [f"{clock(x):%I:%M:%S %p}", f"T{spelled(x)}", f"{spelled(x)}.000"],
        lambda x: [x, float(x)],
        clock,
        "clock",
    ),
    "code": Field(
        st.sampled_from(["00107", "01069", "10115", "99999"]), str, lambda x: [x], lambda x: [x], str, "categorical"
    ),
    "status": Field(
        st.sampled_from([200, 404, 500, 418]),
        str,
        lambda x: [f"{x}", f"{x}.0"],
        lambda x: [x, float(x)],
        float,
        "categorical",
    ),
    "serial": Field(
        st.sampled_from([2**60 + i for i in range(4)]),
        str,
        lambda x: [str(x)],
        lambda x: [x, str(x)],
        int,
        "categorical",
    ),
}
Row = dict[str, Any]
TEXTUAL = ("opened", "code", "status", "serial")
"""Columns whose tensors are of texts alone."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Detector:
    """A model of a file with each of `FIELDS`."""
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("notations")
    values = {
        "price": rng.lognormal(7, 1, ROWS).round(2),
        "share": rng.uniform(0, 100, ROWS).round(1),
        "latency": rng.gamma(2, 40, ROWS).round(1),
        "balance": rng.normal(100, 2000, ROWS).round(2),
        "visits": rng.lognormal(6.5, 1, ROWS).astype(int),
        "quoted": rng.normal(50, 9, ROWS).round(1),
        "took": rng.gamma(3, 1500, ROWS).astype(int),
        "opened": (rng.normal(13 * 3600, 9000, ROWS) % 86_400).astype(int),
        "code": rng.choice(["00107", "01069", "10115"], ROWS),
        "status": rng.choice([200, 404, 500], ROWS, p=[0.8, 0.1, 0.1]),
        "serial": 2**60 + rng.integers(0, 3, ROWS),
    }
    texts = {name: [FIELDS[name].first(value.item()) for value in column] for name, column in values.items()}
    pl.DataFrame(texts).write_csv(folder / "table.csv")
    said: list[str] = []
    config = TrainConfig(target_fpr=0.05, split="random", fit=FitConfig(steps=60))
    train_model(TrainingSource((folder / "table.csv",)), "notations", folder, config, say=said.append)
    assert any("price: numeric (all 400 values are numbers as 1.234,50 EUR)" in line for line in said)
    model = load(folder / "notations")
    assert [(column.name, column.kind) for column in model.schema.columns] == [
        (name, field.kind) for name, field in FIELDS.items()
    ]
    return model


@pytest.fixture(scope="module")
def http(model: Detector) -> Iterator[Client]:
    """A client of a service of the model."""
    with client(model) as http:
        yield http


ROW = st.fixed_dictionaries({name: st.none() | field.values for name, field in FIELDS.items()})


@settings(max_examples=25)
@given(data=st.data(), rows=st.lists(ROW, min_size=1, max_size=4))
def test_every_door_takes_every_spelling_for_what_it_means(
    data: st.DataObject, rows: list[Row], model: Detector, http: Client, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A file of text or of types, a body of CSV, JSON or Arrow, a frame and tensors: one score for one meaning."""
    folder = tmp_path_factory.mktemp("doors")
    scores: dict[str, Any] = {}
    first = {name: ["" if row[name] is None else FIELDS[name].first(row[name]) for row in rows] for name in FIELDS}
    other = {name: [text(data, name, row[name]) for row in rows] for name in FIELDS}
    typed = pl.DataFrame(
        {name: [None if row[name] is None else FIELDS[name].table(row[name]) for row in rows] for name in FIELDS}
    ).with_columns(pl.col(pl.Null).cast(pl.String))
    frames = {"first": pl.DataFrame(first), "texts": pl.DataFrame(other), "typed": typed}
    for door, frame in frames.items():
        source = folder / f"{door}.{'parquet' if door == 'typed' else 'csv'}"
        if door == "typed":
            frame.write_parquet(source)
        else:
            frame.write_csv(source, quote_style="always")
            scores[f"{door} in a body"] = posted(
                http, content=source.read_bytes(), headers={"content-type": "text/csv"}
            )
        score_file(model, source, folder / "out.parquet", force=True)
        scored = pl.read_parquet(folder / "out.parquet")
        assert scored["kilter_error"].null_count() == len(rows), scored["kilter_error"]
        scores[door] = scored["kilter_score"].to_list()
    cells = {name: [cell(data, name, row[name]) for row in rows] for name in FIELDS}
    plain = {
        name: [one.item() if isinstance(one, np.generic) else one for one in column] for name, column in cells.items()
    }
    records = [dict(zip(plain, values, strict=True)) for values in zip(*plain.values(), strict=True)]
    scores["JSON"] = posted(http, json={"records": records})
    scores["JSON in columns"] = posted(http, json={"columns": plain})
    scores["records"] = model.score(records).score
    scores["frame"] = model.score(pd.DataFrame({name: pd.Series(c, dtype=object) for name, c in cells.items()})).score
    scores["frame of types"] = model.score(typed).score
    texts = pl.col("serial").cast(pl.String)  # pandas makes floats of whole numbers of which some are missing
    scores["pandas with types"] = model.score(typed.with_columns(texts).to_pandas()).score
    scores["tensors"] = outputs(http.post("/v2/models/notations/infer", json={"inputs": tensors(data, other)}).content)[
        "score"
    ]
    for door, found in scores.items():
        np.testing.assert_allclose(found, scores["first"], rtol=1e-5, atol=1e-5, err_msg=door)


@settings(max_examples=60)
@given(
    style=STYLES,
    hundredths=st.lists(st.integers(-(10**7), 10**7), min_size=30, max_size=60, unique=True),
    delimiter=st.sampled_from(",;\t"),
)
def test_every_style_of_a_training_file_is_read_by_every_door(
    style: dict[str, Any], hundredths: list[int], delimiter: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """As training decided by the file: the file itself, JSON, records, and a frame of texts or of numbers."""
    path, values = tmp_path_factory.mktemp("style") / "table.csv", [number / 100 for number in hundredths]
    texts = [spelled_in(style, value) for value in values]
    pl.DataFrame({"n": texts, "o": range(len(texts))}).write_csv(path, separator=delimiter, quote_style="always")
    read = read_frame([path])
    draft, _ = infer_columns(read.frame, decimal=read.decimal, exclude=["o"])
    [column] = draft.columns
    assert isinstance(column, NumericColumn)
    table = to_table(draft, read.frame)
    assert table.columns["n"].tolist() == values
    fitted = column.fit(table.columns["n"])
    schema = msgspec.structs.replace(draft, columns=(fitted,))
    numbers = pl.DataFrame({"n": values})
    tables = [to_table(schema, numbers), from_frame(schema, numbers), from_records(schema, numbers.to_dicts())]
    if fitted.notation is not None:
        spellings = pl.DataFrame({"n": [fitted.shown(value) for value in values]})
        for frame in (pl.DataFrame({"n": texts}), spellings):
            tables += [to_table(schema, frame), from_frame(schema, frame), from_records(schema, frame.to_dicts())]
            tables.append(from_frame(schema, frame.to_pandas()))
    for one in tables:
        assert not one.problems
        assert one.columns["n"].tolist() == values


def text(data: st.DataObject, name: str, value: Any) -> str:
    """One of the texts of a value, perhaps with blanks around it; a blank where it is missing."""
    if value is None:
        return ""
    one = data.draw(st.sampled_from([FIELDS[name].first(value), *FIELDS[name].texts(value)]))
    return one if FIELDS[name].kind == "categorical" else data.draw(st.sampled_from([one, f" {one} "]))


def cell(data: st.DataObject, name: str, value: Any) -> Any:
    """One of the cells of JSON or of a frame that mean a value."""
    if value is None:
        return None
    return data.draw(
        st.sampled_from([FIELDS[name].first(value), *FIELDS[name].texts(value), *FIELDS[name].typed(value)])
    )


def tensors(data: st.DataObject, texts: dict[str, list[str]]) -> list[dict[str, Any]]:
    """A tensor of texts for each column."""
    return [tensor(name, "BYTES", [one or None for one in column]) for name, column in texts.items()]


def posted(http: Client, **request: Any) -> list[float]:
    """The scores of a request to score."""
    answer = http.post("/v1/models/notations/score", **request)
    assert answer.status_code == 200, answer.text
    return [result["score"] for result in answer.json()["results"]]


USUAL = {
    "price": "1.000,00 EUR",
    "share": "50.0 %",
    "latency": "70.0 ms",
    "balance": "90.00",
    "visits": "700",
    "quoted": "'50.0'",
    "took": "01:10:00",
    "opened": "13:00:00",
    "code": "00107",
    "status": "200",
    "serial": str(2**60),
}


@pytest.mark.parametrize(
    ("name", "text", "shown"),
    [
        ("price", "999.999,50 EUR", "999.999,50 EUR"),
        ("share", "999.5 %", "999.5 %"),
        ("latency", "3.5 s", "3500.0 ms"),
        ("balance", "(99,999.00)", "(99,999.00)"),
        ("visits", "99,999,999", "99,999,999"),
        ("took", "99:00:00", "99:00:00"),
        ("opened", "03:30", "03:30"),
        ("code", "107", "107"),
        ("serial", str(2**60 + 9), str(2**60 + 9)),
    ],
)
def test_a_reason_is_in_the_columns_own_notation(model: Detector, name: str, text: str, shown: str) -> None:
    """What was observed and what is expected are spelled as the file spells them, and can be sent back."""
    verdicts = model.score([USUAL | {name: text}], reasons=1)
    assert verdicts.reasons is not None
    [[reason]] = verdicts.reasons
    assert isinstance(reason, Reason)
    assert (reason.feature, reason.observed) == (name, shown)
    column = model.schema.field(name)
    assert column is not None
    assert column.read(reason.observed) == column.read(text)
    column.read(reason.expected)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("price", "1234.5", "a number like 1.234,50 EUR is expected, not the text '1234.5'; leave the cell empty"),
        ("price", "12,00 USD", "is in USD, and those of the column are in EUR: convert it, or leave it empty"),
        ("latency", "3 kg", "has the unit kg, and those of the column are in ms: convert it, or leave it empty"),
        (
            "took",
            "soon",
            "a duration like 03:04:46 is expected, not the text 'soon'; leave the cell empty if it is unknown",
        ),
        ("opened", "25:00", "a time of day like 14:05 is expected, not the text '25:00'; leave the cell empty"),
    ],
)
def test_what_does_not_fit_is_named_with_row_field_and_remedy(
    model: Detector, http: Client, tmp_path: Path, name: str, value: str, message: str
) -> None:
    """In JSON and in a file."""
    records = [USUAL, USUAL | {name: value}]
    answer = http.post("/v1/models/notations/score", json={"records": records})
    assert answer.status_code == 422
    [problem] = answer.json()["problems"]
    assert (problem["row"], problem["field"]) == (1, name)
    assert message in problem["message"]
    pl.DataFrame(records).write_csv(tmp_path / "new.csv")
    score_file(model, tmp_path / "new.csv", tmp_path / "out.parquet")
    errors = pl.read_parquet(tmp_path / "out.parquet")["kilter_error"].to_list()
    assert errors[0] is None
    assert message in errors[1]


def test_a_typed_table_of_a_text_has_numbers_durations_and_times(model: Detector, tmp_path: Path) -> None:
    """A CSV that is stored with types has the numbers that were read, and codes as they were."""
    pl.DataFrame([USUAL]).write_csv(tmp_path / "new.csv")
    score_file(model, tmp_path / "new.csv", tmp_path / "out.parquet")
    [row] = pl.read_parquet(tmp_path / "out.parquet").rows(named=True)
    assert (row["price"], row["took"], row["opened"], row["code"]) == (1000.0, 4200, time(13), "00107")


def awkward(rows: int = 600) -> dict[str, list[Any]]:
    """Fifteen columns that are not plain numbers, flags or words."""
    rng = np.random.default_rng(7)
    amounts, gains = rng.lognormal(6, 1, rows), rng.normal(50, 700, rows)
    start = datetime(2024, 1, 1)
    return {
        "date": [f"{start + timedelta(days=int(day)):%d.%m.%Y}" for day in rng.integers(0, 300, rows)],
        "zip": [f"{code:05}" for code in rng.choice([1067, 4103, 10115, 20095, 80331], rows)],
        "price": [f"{german(amount)} EUR" for amount in amounts],
        "discount": [f"{share:.1f} %" for share in 100 * rng.beta(2, 9, rows)],
        "took": [spelled(seconds) for seconds in rng.gamma(3, 1500, rows)],
        "opened": [f"{clock(int(at)):%H:%M}" for at in rng.normal(13 * 3600, 9000, rows) % 86_400],
        "latency": [f"{ms:.1f} ms" for ms in rng.gamma(2, 20, rows)],
        "balance": [f"({-gain:,.2f})" if gain < 0 else f"{gain:,.2f}" for gain in gains],
        "status": rng.choice([200, 404, 500], rows, p=[0.9, 0.07, 0.03]).tolist(),
        "serial": [str(2**60 + int(i)) for i in rng.integers(0, 40, rows)],
        "merchant": [f"shop {int(shop) % 5000}" for shop in rng.zipf(1.3, rows)],
        "country": ["DE"] * rows,
        "fax": ["" if chance < 0.9 else str(int(9000 * chance)) for chance in rng.random(rows)],
        "customer": [
            f"{['Anna', 'Ben', 'Cleo', 'Dan'][i % 4]} {['Smith', 'Jones', 'Wu'][i % 3]} {i}" for i in range(rows)
        ],
        "comment": [f"customer {i} wrote a rather long letter about nothing in particular" for i in range(rows)],
    }


LEFT_OUT = {"customer": "an identifier: 600 distinct values in 600 rows", "comment": "free text: 600 distinct values"}


@pytest.mark.e2e
def test_fifteen_awkward_columns_are_used_or_left_out_with_a_remedy_that_works(tmp_path: Path) -> None:
    """Dates, codes, money, percent, durations, names, ids, free text, a constant, and one that is nearly empty."""
    columns = awkward()
    assert len(columns) == 15
    pl.DataFrame(columns).write_csv(tmp_path / "table.csv")
    config = TrainConfig(target_fpr=0.05, split="random", fit=FitConfig(steps=40))
    detector, _, _ = train_model(TrainingSource((tmp_path / "table.csv",)), "awkward", tmp_path, config)
    kinds = {column.name: column.kind for column in detector.schema.columns}
    assert kinds == {
        "date": "timestamp",
        "zip": "categorical",
        "price": "numeric",
        "discount": "numeric",
        "took": "numeric",
        "opened": "clock",
        "latency": "numeric",
        "balance": "numeric",
        "status": "categorical",
        "serial": "categorical",
        "merchant": "categorical",
        "country": "categorical",
        "fax": "numeric",
    }
    assert {left.name for left in detector.schema.left_out} == LEFT_OUT.keys()
    for left in detector.schema.left_out:
        assert left.reason == f"{LEFT_OUT[left.name]}{left.reason.removeprefix(LEFT_OUT[left.name])}"
        assert left.reason.endswith(f"--categorical {left.name} takes it for categories")
    remedied = TrainConfig(
        target_fpr=0.05, split="random", categorical=("customer", "comment"), fit=FitConfig(steps=5, members=1)
    )
    everything, _, _ = train_model(TrainingSource((tmp_path / "table.csv",)), "everything", tmp_path, remedied)
    assert {column.name for column in everything.schema.columns} == columns.keys()
