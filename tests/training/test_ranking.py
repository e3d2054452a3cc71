"""Tests of `training.ranking`: the rows of scanned files with their verdicts, and what a scan has come to in words."""

import csv
import io
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilter.service.detector import KilterError
from kilter.service.detector.modalities.tables import Reason
from kilter.service.detector.verdicts import Verdicts
from kilter.service.formats.discoveries import Discoveries
from kilter.service.formats.lines import COLUMNS, ROW
from kilter.training.data.source import TrainingSource
from kilter.training.data.tables import read_tables
from kilter.training.ranking import agreement_in_words, check_ranking, scan_in_words, write_ranking
from kilter.training.scan import LabelAgreement, ScanResult

HEADER = ("a", "b", "name")


def result_of(scores: list[float], *paths: Path, label: str | None = None) -> ScanResult:
    """A scan of files that gave these scores to the rows that can be read; the highest is flagged."""
    data = read_tables(TrainingSource(paths, label=label, normal=None if label is None else "0"))
    score = np.array(scores)[: data.table.rows]
    score[[problem.row for problem in data.table.problems if problem.row is not None]] = np.nan
    judged = int((~np.isnan(score)).sum())
    top = score == np.nanmax(score)
    reasons = [[Reason("a", 1.5, 0.25, 1.0)] if flag else [] for flag in top]
    p_value = np.where(np.isnan(score), np.nan, np.where(top, 1e-6, 0.5))
    verdicts = Verdicts(score, p_value, top, reasons, data.table.problems, np.empty((len(score), 0), np.float32))
    return ScanResult(data, verdicts, Discoveries(0.1, judged, int(top.sum()), 1e-6, 1e-6), 0, None)


def write(path: Path, rows: list[tuple[Any, ...]], delimiter: str = ",", encoding: str = "utf-8") -> Path:
    """A text table."""
    lines = [delimiter.join(map(str, row)) for row in (HEADER, *rows)]
    path.write_bytes(("\n".join(lines) + "\n").encode(encoding))
    return path


ROWS = [(i, i % 3 + 0.5, f"row {i}") for i in range(12)]
SCORES = [float(x) for x in (3, 1, 4, 1.5, 9, 2, 6, 5, 3.5, 8, 7, 0)]


@given(
    st.permutations(range(12)),
    st.sampled_from([",", ";", "\t"]),
    st.sampled_from(["utf-8", "utf-16", "cp1252"]),
    st.one_of(st.none(), st.integers(1, 20)),
    st.booleans(),
)
def test_every_row_keeps_its_bytes_its_verdict_and_its_number(
    order: list[int], delimiter: str, encoding: str, top: int | None, in_order: bool
) -> None:
    """In any dialect and encoding; strangest first or in the order of the file, all or some."""
    scores = [float(place) for place in order]
    with TemporaryDirectory() as folder:
        path = write(Path(folder, "in.csv"), [(*row[:2], "Zürich") for row in ROWS], delimiter, encoding)
        out = Path(folder, "out.csv")
        written = write_ranking(result_of(scores, path), out, in_order=in_order, top=top)
        lines = out.read_bytes().decode(encoding).splitlines()
        source = path.read_bytes().decode(encoding).splitlines()
    assert written.records == 12
    cells = [*csv.reader(lines, delimiter=delimiter)]
    assert cells[0] == [*HEADER, *COLUMNS, ROW]
    numbers = [int(row[-1]) for row in cells[1:]]
    ranked = np.argsort([-score for score in scores])[:top].tolist()
    assert numbers == (sorted(ranked) if in_order else ranked)
    for line, row, number in zip(lines[1:], cells[1:], numbers, strict=True):
        assert line.startswith(source[1 + number] + delimiter)
        assert float(row[3].replace(",", ".")) == scores[number]
        assert row[5] == ("true" if scores[number] == 11 else "false")
        assert bool(row[6]) == (scores[number] == 11)


@pytest.mark.parametrize("ending", ["csv", "csv.gz", "parquet", "arrow"])
def test_every_format_of_verdicts_is_written(tmp_path: Path, ending: str) -> None:
    """The columns of `kilter score`, and the row last."""
    out = tmp_path / f"out.{ending}"
    write_ranking(result_of(SCORES, write(tmp_path / "in.csv", ROWS)), out)
    read = {"parquet": pl.read_parquet, "arrow": pl.read_ipc}.get(ending, pl.read_csv)
    frame = read(out)
    assert frame.columns == [*HEADER, *COLUMNS, ROW]
    assert frame[ROW].to_list()[:3] == [4, 9, 10]
    assert frame["a"].to_list()[:3] == [4, 9, 10]
    assert json.loads(frame["kilter_reasons"][0]) == [{"feature": "a", "observed": 1.5, "expected": 0.25, "share": 1.0}]


def test_rows_in_error_come_last_with_their_error(tmp_path: Path) -> None:
    """Rows with a field too many, and with one that cannot be read, are counted like all others."""
    path = write(tmp_path / "in.csv", [(i, i % 3 + 0.5, f"row {i}") for i in range(120)])
    lines = path.read_text().splitlines()
    lines[2] += ",more"
    lines[4] = "many" + lines[4].removeprefix("3")
    path.write_text("\n".join(lines) + "\n")
    result = result_of([120.0 - row for row in range(120) if row != 1], path)
    written = write_ranking(result, tmp_path / "out.csv")
    rows = [*csv.reader(io.StringIO((tmp_path / "out.csv").read_text()))][1:]
    assert [int(row[-1]) for row in rows] == [0, 2, *range(4, 120), 1, 3]
    assert "fields and the header" in rows[-2][-2]
    assert rows[-1][-2].startswith("field 'a': a number")
    assert rows[-1][3:6] == ["", "", ""]
    assert written.names[1] == "row 2"
    assert scan_in_words(result, written)[0] == "118 rows judged, 1 flagged, 2 in error."


@pytest.mark.parametrize("alike", [True, False])
def test_several_files_are_one_and_each_row_names_its_own(tmp_path: Path, alike: bool) -> None:
    """Their rows keep their bytes where all are written alike, and are written anew where they are not."""
    first = write(tmp_path / "one.csv", ROWS[:6])
    other = write(tmp_path / "two.csv", ROWS[6:], "," if alike else ";")
    result = result_of(SCORES, first, other)
    written = write_ranking(result, tmp_path / "out.csv")
    frame = pl.read_csv(tmp_path / "out.csv")
    assert frame["kilter_file"].to_list()[:3] == [str(first), str(other), str(other)]
    assert frame[ROW].to_list()[:3] == [4, 3, 4]
    assert frame["a"].to_list()[:3] == [4, 9, 10]
    assert written.names[9] == f"{other}, row 3"
    assert any(line.startswith(f"  {other}, row 3: score 8") for line in scan_in_words(result, written))


def test_a_parquet_file_stays_typed(tmp_path: Path) -> None:
    """As `kilter score` leaves it."""
    pl.DataFrame(ROWS, HEADER, orient="row").write_parquet(tmp_path / "in.parquet")
    write_ranking(result_of(SCORES, tmp_path / "in.parquet"), tmp_path / "out.parquet", top=2)
    frame = pl.read_parquet(tmp_path / "out.parquet")
    assert frame["a"].dtype == pl.Int64
    assert frame["name"].to_list() == ["row 4", "row 9"]


def test_what_would_be_lost_or_mixed_up_is_refused(tmp_path: Path) -> None:
    """Before anything is fitted: no ending that says a format, a file that is there, one that is read, a stream, and a
    file that holds verdicts already. And afterwards, a file that has changed."""
    path = write(tmp_path / "in.csv", ROWS)
    result = result_of(SCORES, path)
    (tmp_path / "there.csv").write_text("")
    judged = tmp_path / "judged.csv"
    lines = path.read_text().splitlines()
    judged.write_text("\n".join(f"{line},{i or 'kilter_row'}" for i, line in enumerate(lines)))
    for source, out, message in (
        (path, "out.what", "does not say what to write"),
        (path, "in.csv", "is the file that is read"),
        (path, "there.csv", "exists already"),
        (Path("-"), "out.csv", "files that can be read twice, not a stream"),
        (judged, "out.csv", "has a column 'kilter_row' already"),
    ):
        with pytest.raises(KilterError, match=message):
            check_ranking([source], tmp_path / out, force=False)
    check_ranking([path], tmp_path / "there.csv", force=True)
    write(path, ROWS[:-1])
    with pytest.raises(KilterError, match="has changed while it was read"):
        write_ranking(result, tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()


def test_what_a_scan_has_come_to_is_said(tmp_path: Path) -> None:
    """Flags, fields to blame, the strangest rows with their reasons, copies, and labels."""
    result = result_of(SCORES, write(tmp_path / "in.csv", ROWS))._replace(copies=2)
    written = write_ranking(result, tmp_path / "out.csv")
    lines = scan_in_words(result, written)
    assert lines[0] == "12 rows judged, 1 flagged, 0 in error."
    assert "2 rows are copies of others" in lines[1]
    assert lines[2] == "Flagged at a false-discovery rate of 0.1: the rows with p-values up to 1e-06."
    assert lines[3] == "Fields that most often are the first reason of the flagged rows: a (1)."
    assert lines[5] == "  row 4: score 9, p-value 1e-06, flagged: a 1.5, usually 0.25"
    assert len(lines) == 15
    nothing = result._replace(discoveries=Discoveries(0.1, 12, 0, 0.0, 0.01))
    assert "no row lies so far beyond the others that it is flagged" in scan_in_words(nothing, written)[2]


def test_labels_are_told_where_there_are_both_kinds(tmp_path: Path) -> None:
    """Nothing is said of labels that were not given, and that of one kind alone say nothing."""
    path = write(tmp_path / "in.csv", ROWS)
    assert agreement_in_words(result_of(SCORES, path)) == []
    labelled = result_of(SCORES, path, label="a")
    assert agreement_in_words(labelled) == ["'a' tells no anomalies from normal rows among those that were judged."]
    (line,) = agreement_in_words(labelled._replace(agreement=LabelAgreement(0.9, 0.5, 11, 1, 1)))
    assert line == (
        "By 'a', which no model saw: ROC AUC 0.9000, average precision 0.5000; 1 of 1 flagged rows are among its 11 "
        "anomalies."
    )
