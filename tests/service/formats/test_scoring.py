"""A file comes back with verdicts, and otherwise as it was."""

import csv
import io
import json
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilter.service.detector import Detector, KilterError
from kilter.service.detector.manifest import Probes
from kilter.service.formats.reading import open_table
from kilter.service.formats.scoring import score_file
from tests.support.serving import RECORD, SCHEMA, STRANGE, Squares, detector

SHOP = detector()
NEW = ["kilter_score", "kilter_p_value", "kilter_anomaly", "kilter_reasons", "kilter_error"]
HEADER = "id,amount,items,member,colour,at"
NORMAL = "1,52.5,3,true,red,2024-05-31T08:15:00"
ODD = "2,9100.0,3,true,red,2024-05-31T08:15:00"


def filtered(data: bytes, model: Detector = SHOP, **options: Any) -> bytes:
    """What `kilter score MODEL -` makes of standard input."""
    out = io.BytesIO()
    score_file(model, "-", "-", stdin=io.BytesIO(data), stdout=out, **options)
    return out.getvalue()


def rows(data: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(data.decode(), newline="")))


def test_a_file_gets_the_verdicts_of_the_api(tmp_path: Path) -> None:
    """Scores, p-values, flags and reasons are those of `Detector.score` on the same records."""
    path = tmp_path / "in.csv"
    path.write_text("\n".join([HEADER, NORMAL, ODD]) + "\n")
    summary = score_file(SHOP, path, tmp_path / "out.csv", reasons="all")
    found = rows((tmp_path / "out.csv").read_bytes())
    verdicts = SHOP.score([RECORD, STRANGE], reasons=5)
    assert [float(row["kilter_score"]) for row in found] == verdicts.score.tolist()
    assert [float(row["kilter_p_value"]) for row in found] == verdicts.p_value.tolist()
    assert [row["kilter_anomaly"] for row in found] == ["false", "true"]
    assert [json.loads(row["kilter_reasons"]) for row in found] == msgspec.to_builtins(verdicts.reasons)
    assert [row["kilter_error"] for row in found] == ["", ""]
    assert summary[:3] == (2, 1, 0)


def test_reasons_are_given_to_whom_they_are_wanted_for() -> None:
    """Anomalies alone have reasons by default, and no record if none are wanted."""
    data = "\n".join([HEADER, NORMAL, ODD]).encode()
    some = [bool(row["kilter_reasons"]) for row in rows(filtered(data))]
    none = [bool(row["kilter_reasons"]) for row in rows(filtered(data, reasons="none"))]
    assert (some, none) == ([False, True], [False, False])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_records_keep_their_own_bytes(encoding: str, newline: str, delimiter: str) -> None:
    """Every record is its own bytes, then the verdict in the same delimiter, encoding and line ending."""
    fields = [HEADER.split(","), NORMAL.split(","), ODD.split(",")]
    fields[1][0] = '"q ""é"" \n x"'
    fields[2][1] = '"9100.00" '.strip()
    lines = [delimiter.join(line) for line in fields]
    data = newline.join([*lines, ""]).encode(encoding)
    out = filtered(data)
    assert out[:2] == data[:2]
    text = out.decode(encoding)
    for line in lines:
        assert text.count(line + delimiter) == 1
    assert text.endswith(newline)
    found = list(csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter))
    assert [row["id"] for row in found] == ['q "é" \n x', "2"]
    assert [row["kilter_anomaly"] for row in found] == ["false", "true"]


def test_a_row_in_error_stops_no_other() -> None:
    """A bad cell and a ragged row carry their message and no verdict; the others are judged."""
    bad = NORMAL.replace("52.5", '"many, ""many"""').replace("red", "rouge").replace("true", "vrai")
    data = "\n".join([HEADER, NORMAL, bad, "7,1", ODD, ODD + ",,", '8,"open', ""]).encode()
    out = filtered(data)
    found = rows(out)
    assert [row["kilter_anomaly"] for row in found] == ["false", "", "", "true", "", ""]
    assert "field 'amount': a number like 1234.5" in found[1]["kilter_error"]
    assert "; field 'member': one of 'true', 'false'" in found[1]["kilter_error"]
    assert found[2]["kilter_error"].startswith("line 4 has 2 fields and the header 6")
    assert (found[2]["id"], found[2]["amount"], found[2]["kilter_score"]) == ("7", "1", "")
    assert b"line 6 has 8 fields" in out
    assert found[5]["kilter_error"].startswith("line 7 cannot be read: a quote")


def test_errors_are_counted(tmp_path: Path) -> None:
    """The summary says how many records, anomalies and errors there were, and the first error with its place."""
    path = tmp_path / "in.csv"
    path.write_text("\n".join([HEADER, ODD, NORMAL.replace("52.5", "1e39")]))
    summary = score_file(SHOP, path, tmp_path / "out.csv")
    assert summary[:3] == (2, 1, 1)
    assert summary.first_error.startswith("record 1: field 'amount': the number is 1e+39")


def test_messages_do_not_change_how_a_record_reads() -> None:
    """In a record that is no UTF-8 the message is written in the record's own encoding."""
    out = filtered("\n".join([HEADER, NORMAL.replace("52.5", "café")]).encode("cp1252"))
    assert "the text 'café'" in out.decode("cp1252")


def test_the_decimal_sign_is_the_models() -> None:
    """A model that reads decimal commas writes them too, where the delimiter is none."""
    comma = detector(schema=msgspec.structs.replace(SCHEMA, decimal=","))
    data = "\n".join([HEADER, NORMAL.replace("52.5", "52x5")]).replace(",", ";").replace("x", ",").encode()
    (line,) = csv.DictReader(io.StringIO(filtered(data, comma).decode()), delimiter=";")
    assert float(line["kilter_score"].replace(",", ".")) == SHOP.score([RECORD]).score[0]


@pytest.mark.parametrize("ending", [".parquet", ".arrow", ".ndjson.gz", ".csv.gz", ".csv.zst", ".csv.xz", ".csv.bz2"])
def test_other_formats_hold_the_same(tmp_path: Path, ending: str) -> None:
    """From CSV to another format and from there to CSV again, cells mean the same, and so do verdicts."""
    unknown = NORMAL.replace("52.5", "")
    tmp_path = tmp_path / "[*] a=b"
    tmp_path.mkdir()
    plain = "\n".join([HEADER, NORMAL, ODD, unknown, NORMAL.replace("red", "NA"), ""])
    (tmp_path / "in.csv").write_text(plain)
    score_file(SHOP, tmp_path / "in.csv", tmp_path / f"out{ending}")
    with open_table(tmp_path / f"out{ending}") as table:
        frame = pl.concat([batch.frame for batch in table.batches()])
    assert {*frame.columns} == {*HEADER.split(","), *NEW}
    again = tmp_path / "again.parquet"
    frame.drop(NEW).write_parquet(again)
    score_file(SHOP, again, tmp_path / "again.csv")
    first, second = rows(filtered(plain.encode())), rows((tmp_path / "again.csv").read_bytes())
    for name in NEW:
        assert [row[name] for row in first] == [row[name] for row in second]
    if ending in (".parquet", ".arrow"):
        kinds = [pl.String, pl.Float64, pl.Int64, pl.Boolean, pl.String, pl.Datetime("us")]
        assert frame.dtypes == [*kinds, pl.Float64, pl.Float64, pl.Boolean, pl.String, pl.String]
        assert frame["kilter_score"].to_list() == [float(row["kilter_score"]) for row in first]


def test_ndjson_has_values_of_their_types_and_reasons_as_lists(tmp_path: Path) -> None:
    """Whole numbers without a point, nothing for what is missing, and no record more or less."""
    (tmp_path / "in.csv").write_text("\n".join([HEADER, NORMAL, ODD, NORMAL.replace("3", "three"), ""]))
    score_file(SHOP, tmp_path / "in.csv", tmp_path / "out.ndjson")
    first, odd, wrong = map(json.loads, (tmp_path / "out.ndjson").read_text().splitlines())
    assert (first["id"], first["items"], first["amount"], first["member"]) == ("1", 3, 52.5, True)
    assert first["at"] == "2024-05-31T08:15:00"
    assert '"items":3,' in (tmp_path / "out.ndjson").read_text()
    assert (first["kilter_reasons"], first["kilter_error"]) == (None, None)
    assert odd["kilter_anomaly"] is True
    assert odd["kilter_reasons"] == msgspec.to_builtins(SHOP.score([STRANGE], reasons=5).reasons)[0]
    assert (wrong["items"], wrong["kilter_score"]) == (None, None)
    assert "items" in wrong["kilter_error"]


@pytest.mark.parametrize("ending", [".csv", ".ndjson", ".parquet"])
def test_only_some_columns_are_written(tmp_path: Path, ending: str) -> None:
    """In the order in which they are asked for, known to the model or not; one that is not there is refused."""
    (tmp_path / "in.csv").write_text("\n".join([HEADER.replace(",", ";"), NORMAL.replace(",", ";"), ""]))
    out = tmp_path / f"out{ending}"
    score_file(SHOP, tmp_path / "in.csv", out, columns=("amount", "id"))
    with open_table(out) as table:
        (batch,) = table.batches()
    names = ["amount", "id", *NEW]
    assert [name for name in batch.frame.columns if name in names[:2]] == names[:2]
    assert {*batch.frame.columns} == {*names}
    assert [float(batch.frame["amount"][0]), batch.frame["id"][0]] == [52.5, "1"]
    with pytest.raises(KilterError, match=r"'amont'.*amount"):
        score_file(SHOP, tmp_path / "in.csv", tmp_path / "other.csv", columns=("amont",))
    assert not (tmp_path / "other.csv").exists()


def test_typed_columns_pass_as_they_are(tmp_path: Path) -> None:
    """From Parquet to Parquet every column keeps its type and values, those that the model does not need too."""
    frame = pl.DataFrame([RECORD, STRANGE]).with_columns(at=pl.col("at").str.to_datetime(time_zone="UTC"), x=pl.lit(1))
    frame = frame.with_columns(pl.col("colour").cast(pl.Categorical), extra=pl.Series([[1], None]))
    frame.write_parquet(tmp_path / "in.parquet")
    score_file(SHOP, tmp_path / "in.parquet", tmp_path / "out.parquet")
    found = pl.read_parquet(tmp_path / "out.parquet")
    assert found.drop(NEW).equals(frame)
    assert found.drop(NEW).schema == frame.schema
    assert found["kilter_anomaly"].to_list() == [False, True]
    assert found["kilter_error"].to_list() == [None, None]


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_a_header_without_rows_is_scored_to_the_same(tmp_path: Path, ending: str) -> None:
    """A table of no rows gives a table of no rows, with the columns of the verdict."""
    (tmp_path / "in.csv").write_text(HEADER + "\n")
    assert score_file(SHOP, tmp_path / "in.csv", tmp_path / f"out{ending}")[:3] == (0, 0, 0)
    with open_table(tmp_path / f"out{ending}") as table:
        assert table.columns[-5:] == tuple(NEW)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("id,amount,items,member", "lacks 'colour', 'at', which the model needs; its columns are 'id', 'amount'"),
        (HEADER + ",kilter_score", "has a column 'kilter_score' already: score the original"),
    ],
)
def test_tables_that_do_not_fit_are_refused(tmp_path: Path, header: str, message: str) -> None:
    """A needed column that is absent and one that is appended already are errors, and nothing is written."""
    (tmp_path / "in.csv").write_text(header + "\n")
    with pytest.raises(KilterError, match=message):
        score_file(SHOP, tmp_path / "in.csv", tmp_path / "out.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]


@cache
def judged_alone() -> dict[str, dict[str, str]]:
    """Verdicts on some records, each scored by itself."""
    amounts = np.random.default_rng(0).normal(50, 100, 40)
    lines = [NORMAL.replace("52.5", f"{amount:.3f}") for amount in amounts]
    return {line: rows(filtered(f"{HEADER}\n{line}".encode()))[0] for line in lines}


@given(st.lists(st.integers(0, 39), min_size=1, max_size=60))
def test_order_and_neighbours_change_no_verdict(order: list[int]) -> None:
    """A record gets the same verdict alone, among others and in any order."""
    lines = list(judged_alone())
    chosen = [lines[i] for i in order]
    assert rows(filtered("\n".join([HEADER, *chosen]).encode())) == [judged_alone()[line] for line in chosen]


def test_records_whose_condition_says_nothing_are_counted(tmp_path: Path) -> None:
    """Of a model that judges given a column: values that training never saw, and those that are missing."""
    described = SHOP.manifest
    network = msgspec.structs.replace(described.network, condition="colour")
    conditional = Detector(
        msgspec.structs.replace(described, network=network), Squares(), SHOP.calibration, Probes([RECORD], [], [], [])
    )
    path = tmp_path / "in.csv"
    lines = [HEADER, *(NORMAL.replace("red", colour) for colour in ("red", "green", "", "blue", "red"))]
    path.write_text("\n".join(lines) + "\n")
    notes = score_file(conditional, path, tmp_path / "out.csv").notes
    assert [note for note in notes if "'colour'" in note] == [
        "2 records with a 'colour' that training never saw, or without one: the network judged the other fields by "
        "what is normal whatever the value"
    ]
    path.write_text("\n".join([HEADER, NORMAL]) + "\n")
    assert not score_file(conditional, path, tmp_path / "out-2.csv").notes
    assert not any("whatever the value" in note for note in score_file(SHOP, path, tmp_path / "out-3.csv").notes)
