"""One value has one meaning: however it is spelled, and wherever it comes from, the verdict is the same.

And a value that is merely new gets a verdict, in old models too.
"""

import io
import json
from collections.abc import Iterator
from datetime import date, timedelta
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kilter.service.detector import Detector, Reason, load
from kilter.service.detector.columns import BooleanColumn
from kilter.service.formats.scoring import score_file
from kilter.training.config import FitConfig, TrainConfig
from kilter.training.data.source import TrainingSource
from kilter.training.data.tables import infer_columns
from kilter.training.pipeline import train_model
from tests.support.protocol_client import outputs, tensor
from tests.support.serving import Client, client

ARTIFACTS = Path(__file__).parent / "service/detector/artifacts"
ROWS = 400
FIRST = date(2024, 1, 1)
TRUE: list[Any] = ["1", "1.0", "true", "TRUE", "True", "yes", "Yes", "YES", " 1 ", True, 1, 1.0, np.True_, np.int8(1)]
FALSE: list[Any] = ["0", "0.0", "false", "FALSE", "False", "no", "No", "NO", " 0 ", False, 0, 0.0, np.False_]
BLANK: list[Any] = ["", None, np.nan]
TWO: list[Any] = ["2", "2.0", 2, 2.0, np.float32(2)]
SPELLINGS: dict[str, list[list[Any]]] = {
    "ok": [TRUE, FALSE, BLANK, TWO, ["-1", "-1.0", -1, -1.0], ["0.5", 0.5]],
    "member": [TRUE, FALSE, BLANK, TWO],
    "full": [TRUE, FALSE, TWO],
    "rare": [["0", "0.0", "false", "FALSE", 0, 0.0, False], ["1", "1.0", "true", "True", 1, 1.0, True], BLANK],
    "status": [
        ["200", "200.0", 200, 200.0],
        ["404", "404.0", 404, 404.0, np.int64(404)],
        ["true", "TRUE", "True", True],
        ["A"],
        ["999", "999.0", 999, 999.0],
        ["new"],
        BLANK,
    ],
    "day": [["20240117", "20240117.0", 20240117, 20240117.0], ["20240210", "20240210.0", 20240210], BLANK],
    "created_at": [["1717143300", "1717143300.0", 1717143300, 1717143300.0, np.int64(1717143300)], BLANK],
    "amount": [["20240101", "20240101.0", "2.0240101e7", 20240101, 20240101.0], ["7", "7.0", 7, 7.0], BLANK],
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Detector:
    """A model of a file with a column for each of `SPELLINGS`."""
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("meanings")
    flags, some = rng.integers(0, 2, (3, ROWS)), rng.random(ROWS) < 0.9
    frame = pl.DataFrame(
        {
            "ok": [f"{flag}" if there else "" for flag, there in zip(flags[0], some, strict=True)],
            "member": np.where(flags[1], "yes", "no"),
            "full": flags[2],
            "rare": (np.arange(ROWS) % 200 == 0).astype(int),
            "status": rng.choice(["200", "404", "true", "A"], ROWS, p=[0.6, 0.2, 0.1, 0.1]),
            "day": [f"{FIRST + timedelta(days=int(days)):%Y%m%d}" for days in rng.integers(0, 120, ROWS)],
            "created_at": 1_717_000_000 + rng.integers(0, 40 * 86_400, ROWS),
            "amount": rng.normal(50, 9, ROWS).round(2),
        }
    )
    frame.write_csv(folder / "table.csv")
    config = TrainConfig(target_fpr=0.05, split="random", fit=FitConfig(steps=60))
    train_model(TrainingSource((folder / "table.csv",)), "meanings", folder, config)
    model = load(folder / "meanings")
    kinds = ["boolean"] * 3 + ["numeric", "categorical", "timestamp", "timestamp", "numeric"]
    assert [(column.name, column.kind) for column in model.schema.columns] == [*zip(SPELLINGS, kinds, strict=True)]
    return model


@pytest.fixture(scope="module")
def http(model: Detector) -> Iterator[Client]:
    """A client of a service of the model."""
    with client(model) as http:
        yield http


Row = dict[str, list[Any]]


def spelled(data: st.DataObject, rows: list[Row], *kinds: type) -> dict[str, list[Any]]:
    """The columns of rows, each cell in a spelling of one of some kinds; None has any kind."""
    return {
        name: [
            data.draw(st.sampled_from([cell for cell in row[name] if cell is None or type(cell) in kinds] or [None]))
            for row in rows
        ]
        for name in SPELLINGS
    }


def by_json(http: Client, columns: dict[str, list[Any]]) -> list[float]:
    """The scores of records in JSON."""
    records = [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]
    bodies: list[Any] = [{"records": records}, {"columns": columns}]
    [rows, sides] = [http.post("/v1/models/meanings/score", json=body) for body in bodies]
    assert rows.status_code == 200, rows.text
    assert rows.json()["results"] == sides.json()["results"]
    return [result["score"] for result in rows.json()["results"]]


@settings(max_examples=25)
@given(data=st.data())
def test_every_door_takes_every_spelling_for_what_it_means(
    data: st.DataObject, model: Detector, http: Client, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A file of text or of types, a body of CSV or JSON, a frame and tensors: one score for one meaning."""
    rows = [
        {name: data.draw(st.sampled_from(meanings)) for name, meanings in SPELLINGS.items()}
        for _ in range(data.draw(st.integers(1, 4)))
    ]
    # As training would have found them: the first spelling of each is that of the training file.
    first = pl.DataFrame(
        {name: [row[name][0] for row in rows] for name in SPELLINGS}, schema=dict.fromkeys(SPELLINGS, pl.String)
    )
    folder = tmp_path_factory.mktemp("doors")
    found: dict[str, Any] = {}
    for door in ("first", "texts", "typed"):
        if door == "typed":  # each column in one type, the text that a CSV file would hold, or numbers
            typed_frame(data, rows).write_parquet(source := folder / "typed.parquet")
        else:
            texts = first if door == "first" else pl.DataFrame(spelled(data, rows, str), schema=first.schema)
            texts.write_csv(source := folder / f"{door}.csv", quote_style="always")
            found[f"{door} in a body"] = scores_of(
                http.post(
                    "/v1/models/meanings/score", content=source.read_bytes(), headers={"content-type": "text/csv"}
                )
            )
        score_file(model, source, folder / "out.parquet", force=True)
        scored = pl.read_parquet(folder / "out.parquet")
        assert scored["kilter_error"].null_count() == len(rows), scored["kilter_error"]
        found[door] = scored["kilter_score"].to_list()
    cells = in_json(spelled(data, rows, str, int, float, bool))
    found["JSON"] = by_json(http, cells)
    records = [dict(zip(cells, values, strict=True)) for values in zip(*cells.values(), strict=True)]
    for name, text in (("lines", "\n".join(map(json.dumps, records))), ("list", json.dumps(records))):
        (folder / f"{name}.json").write_text(text)
        score_file(model, folder / f"{name}.json", folder / "out.parquet", force=True)
        found[name] = pl.read_parquet(folder / "out.parquet")["kilter_score"].to_list()
    frame = pd.DataFrame(
        {name: pd.Series(cells, dtype=object) for name, cells in in_json(spelled(data, rows, *KINDS)).items()}
    )
    found["frame"] = model.score(frame).score
    found["frame of types"] = model.score(typed_frame(data, rows, numbers=True)).score
    found["tensors"] = outputs(http.post("/v2/models/meanings/infer", json={"inputs": tensors(data, rows)}).content)[
        "score"
    ]
    for door, scores in found.items():
        np.testing.assert_allclose(scores, found["first"], rtol=1e-5, atol=1e-5, err_msg=door)


KINDS = (str, int, float, bool, np.bool_, np.int8, np.int64, np.float32)
TEXTS_IN_JSON = ("ok", "member", "full", "status", "created_at", "day")
"""Columns whose values may be texts in JSON; the others are of numbers, which a text is not."""


def in_json(columns: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """Cells as JSON may have them: null where they are blank, and numbers where they must be."""
    return {name: [as_json(name, cell) for cell in cells] for name, cells in columns.items()}


def as_json(name: str, cell: Any) -> Any:
    """A cell of a column: None where it is blank."""
    if cell is None or cell == "" or cell != cell:
        return None
    if isinstance(cell, str) and name not in TEXTS_IN_JSON:
        return {"true": True, "false": False}.get(cell.lower()) if cell.isalpha() else float(cell)
    return cell


def typed_frame(data: st.DataObject, rows: list[Row], *, numbers: bool = False) -> pl.DataFrame:
    """Each column as texts, or as numbers or booleans where all its cells have such a spelling."""
    columns = []
    for name in SPELLINGS:
        choices: list[list[Any]] = [] if numbers else [spelled(data, rows, str)[name]]
        for kind in (bool, int, float):
            ways = [[cell for cell in row[name] if type(cell) is kind or cell is None] for row in rows]
            if all(ways):
                choices.append([way[0] for way in ways])
        if not choices:
            choices = [in_json(spelled(data, rows, str))[name]]
        columns.append(pl.Series(name, data.draw(st.sampled_from(choices)), strict=True))
    return pl.DataFrame(columns).with_columns(pl.col(pl.Null).cast(pl.String))


def tensors(data: st.DataObject, rows: list[Row]) -> list[dict[str, Any]]:
    """A tensor for each column: of texts, or of numbers."""
    texts = in_json(spelled(data, rows, str))
    found = []
    for name, cells in texts.items():
        if name in ("rare", "amount", "created_at"):
            cells = [None if cell is None else float(cell) for cell in cells]
        found.append(tensor(name, "FP64" if name in ("rare", "amount", "created_at") else "BYTES", cells))
    return found


def scores_of(answer: Any) -> list[float]:
    """The scores of an answer in JSON."""
    assert answer.status_code == 200, answer.text
    return [result["score"] for result in answer.json()["results"]]


PAIRS = [("1", "0"), ("1.0", "0.0"), ("true", "false"), ("TRUE", "FALSE"), ("True", "False"), ("yes", "no")]
TYPED = [(1, 0), (1.0, 0.0), (True, False)]


@pytest.mark.parametrize(("pair", "blank"), [*product([*PAIRS, *TYPED], [False, True])])
def test_training_takes_every_spelling_for_a_flag(pair: tuple[Any, Any], blank: bool) -> None:
    """With and without a blank, so that the next file may be written otherwise."""
    cells = [pair[i % 3 == 0] for i in range(90)]
    cells[-1] = None if blank else cells[-1]
    schema, _ = infer_columns(pl.DataFrame({"flag": cells}))
    [column] = schema.columns
    assert isinstance(column, BooleanColumn)
    values = [column.read(spelling) for spelling in TRUE], [column.read(spelling) for spelling in FALSE]
    assert values == ([1.0] * len(TRUE), [0.0] * len(FALSE))


def test_a_flag_that_is_written_1_0_because_of_a_blank_is_read(model: Detector, tmp_path: Path) -> None:
    """As pandas writes a column of whole numbers with one empty cell: the blank is missing, all else is as before."""
    row = {name: meanings[0][0] for name, meanings in SPELLINGS.items()}
    frame = pd.DataFrame([row | {"ok": 1, "full": i % 2} for i in range(400)])
    frame.loc[7, ["ok", "full"]] = np.nan
    text = io.StringIO()
    frame.to_csv(text, index=False)
    assert ",1.0," in text.getvalue()
    (tmp_path / "next.csv").write_text(text.getvalue())
    score_file(model, tmp_path / "next.csv", tmp_path / "out.parquet")
    scored = pl.read_parquet(tmp_path / "out.parquet")
    assert scored["kilter_error"].null_count() == 400
    assert scored["full"].dtype == pl.Boolean
    assert scored["full"].null_count() == 1


def test_a_number_that_is_no_flag_is_stored_as_it_came(model: Detector, tmp_path: Path) -> None:
    """A column of flags that holds one is stored as numbers, and no value of it is lost."""
    rows = [{name: meanings[0][0] for name, meanings in SPELLINGS.items()} | {"full": flag} for flag in ("0", "2", "1")]
    pl.DataFrame(rows).write_csv(tmp_path / "new.csv")
    score_file(model, tmp_path / "new.csv", tmp_path / "out.parquet")
    scored = pl.read_parquet(tmp_path / "out.parquet")
    assert scored["full"].to_list() == [0.0, 2.0, 1.0]
    assert scored["ok"].to_list() == [True] * 3


@pytest.mark.parametrize("name", ["format-1", "format-2", "format-1-grouped"])
@pytest.mark.parametrize("value", [2, -1, 0.5, "2.0", 3e38])
def test_a_number_that_is_no_flag_is_evidence_in_models_of_every_format(name: str, value: Any) -> None:
    """Of a record that is usual otherwise: more than either flag, and among the first two reasons by its value."""
    detector = load(ARTIFACTS / name)
    records = detector.probes.records
    true, false, new = (
        detector.score([record | {"guard": guard} for record in records], reasons=2) for guard in (True, False, value)
    )
    usual = ~true.anomaly & ~false.anomaly
    assert usual.sum() >= 5
    assert (new.score > np.maximum(true.score, false.score))[usual].all()
    assert new.p_value[usual].max() <= 0.1
    assert new.reasons is not None
    for reasons in [reasons for reasons, one in zip(new.reasons, usual, strict=True) if one]:
        seen = [(reason.feature, reason.observed) for reason in reasons if isinstance(reason, Reason)]
        assert ("guard", float(value)) in seen


@pytest.mark.parametrize("name", ["ok", "full"])
def test_a_number_that_is_no_flag_is_evidence_whether_or_not_values_were_missing(model: Detector, name: str) -> None:
    """In `ok` a tenth of the fitting rows had none, so that another number is not taken for a missing one."""
    records = model.probes.records
    [true, false, new] = (model.score([record | {name: flag} for record in records]) for flag in (1, 0, 2))
    usual = ~true.anomaly & ~false.anomaly
    assert usual.sum() >= 5
    assert (new.score > np.maximum(true.score, false.score))[usual].all()
    assert np.median(new.p_value[usual]) <= 0.1


def test_what_cannot_be_read_is_named_with_row_field_and_remedy(http: Client) -> None:
    """A word that is no flag, a list, a number that is none."""
    row = in_json({name: [meanings[0][-1]] for name, meanings in SPELLINGS.items()})
    good = {name: cell.item() if isinstance(cell, np.generic) else cell for name, [cell] in row.items()}
    records = [good, good | {"member": "maybe"}, good | {"ok": [1]}, good | {"day": 20241399}, good | {"full": 1e39}]
    answer = http.post("/v1/models/meanings/score", json={"records": records})
    assert answer.status_code == 422
    problems = [(problem["row"], problem["field"], problem["message"]) for problem in answer.json()["problems"]]
    assert problems == [
        (1, "member", "one of 'yes', 'no' is expected, not the text 'maybe'; leave the cell empty if it is unknown"),
        (2, "ok", "true or false is expected, not a list; use null if it is unknown"),
        (3, "day", "a time like 2024-05-31T08:15:00 (ISO 8601) is expected, not the number 20241399"),
        (
            4,
            "full",
            "the number is 1e+39: only finite numbers up to 3.4e38 can be scored; use null for an unknown value",
        ),
    ]
