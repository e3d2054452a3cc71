"""`kilter score`, as it is called."""

import csv
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner, Result

from kilter.service.commands.score import open_cluster, score_command
from kilter.service.detector import Detector
from tests.support.data import write_csv

KILTER = Path(sys.executable).with_name("kilter")


def call(*arguments: str | Path, data: bytes | None = None) -> Result:
    return CliRunner().invoke(score_command, [str(argument) for argument in arguments], input=data)


@pytest.fixture
def new_csv(tmp_path: Path) -> Path:
    """A CSV of 50 records that `plant` has not seen."""
    return write_csv(tmp_path / "new.csv", np.random.default_rng(5), 50)


def test_a_file_is_scored_by_a_model_and_by_a_version(
    model_folder: Path, detector: Detector, new_csv: Path, tmp_path: Path
) -> None:
    """A model's folder and a version's give the same, which is what the API gives for the same records."""
    first = call(model_folder, new_csv, "-o", tmp_path / "a.csv")
    second = call(model_folder / "1", new_csv, "-o", tmp_path / "b.csv")
    assert (first.exit_code, second.exit_code) == (0, 0)
    assert first.stderr.startswith("50 records, ")
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    with (tmp_path / "a.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    records = [
        {
            "temperature": float(row["temperature"]),
            "pressure": float(row["pressure"]) if row["pressure"] else None,
            "count": int(row["count"]),
            "line": row["line"],
            "product": row["product"],
            "guard": row["guard"] == "true",
            "at": row["at"],
        }
        for row in found
    ]
    verdicts = detector.score(records)
    assert np.allclose([float(row["kilter_score"]) for row in found], verdicts.score, rtol=1e-5)
    assert [row["kilter_anomaly"] == "true" for row in found] == verdicts.anomaly.tolist()


def test_it_is_a_filter(model_folder: Path, new_csv: Path) -> None:
    """With - it reads standard input and writes standard output, and says the rest on standard error."""
    result = call(model_folder, "-", data=new_csv.read_bytes())
    assert result.exit_code == 0
    assert len(list(csv.DictReader(io.StringIO(result.stdout)))) == 50
    assert "50 records" in result.stderr


def test_a_whole_column_that_has_changed_is_said_once(model_folder: Path, new_csv: Path) -> None:
    """In words, before the number of anomalies."""
    lines = new_csv.read_text().splitlines()
    lower = "\n".join([lines[0], *(line.lower() for line in lines[1:])])
    result = call(model_folder, "-", data=lower.encode())
    assert result.exit_code == 0
    said = [line for line in result.stderr.splitlines() if line.startswith("note: ")]
    assert said == ["note: 100% of 'line' are values that training never saw; all would be known in upper case"]


def test_rows_in_error_have_an_exit_status(model_folder: Path, new_csv: Path) -> None:
    """A file with a row that cannot be scored is done with status 1, and the first error is told."""
    lines = new_csv.read_text().splitlines()
    lines[3] = lines[3].replace(",A,", ",A,A,")
    result = call(model_folder, "-", data="\n".join(lines).encode())
    assert result.exit_code == 1
    assert "50 records" in result.stderr
    assert "1 in error" in result.stderr
    assert "first error: record 2: line 4 has 9 fields and the header 8" in result.stderr


def test_rows_in_error_may_go_to_a_file(model_folder: Path, new_csv: Path, tmp_path: Path) -> None:
    """Which tells of them as the exit status does; not strictly at the same time."""
    lines = new_csv.read_text().splitlines()
    bad = lines[3] = lines[3].replace(",A,", ",A,A,")
    new_csv.write_text("\n".join(lines))
    out, reject = tmp_path / "out.csv", tmp_path / "rejects.csv"
    result = call(model_folder, new_csv, "-o", out, "--reject", reject)
    assert result.exit_code == 1
    assert "50 records" in result.stderr
    with reject.open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["kilter_file"], row["kilter_row"], row["kilter_record"]) == (new_csv.name, "2", bad)
    assert len(out.read_text().splitlines()) == 50
    refused = call(model_folder, new_csv, "-o", tmp_path / "other.csv", "--reject", tmp_path / "x.csv", "--strict")
    assert "leave one out" in str(refused.exception)


def test_shards_are_merged(model_folder: Path, new_csv: Path, tmp_path: Path) -> None:
    """By a command that needs no model; a shard that is none is refused."""
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("a.csv", "b.csv"):
        (folder / name).write_bytes(new_csv.read_bytes())
    out = tmp_path / "out"
    for shard in ("0/2", "1/2"):
        assert call(model_folder, folder, "-o", out, "--shard", shard).exit_code == 0
    done = call("--merge", out)
    assert done.exit_code == 0
    assert "is complete: 100 records" in done.stderr
    assert sorted(path.name for path in out.iterdir()) == ["_SUCCESS", "a.csv", "b.csv"]
    for wrong in ("2/2", "0", "-1/2", "a/b"):
        assert "it is I/N, with I from 0 to N - 1" in call(model_folder, folder, "-o", out, "--shard", wrong).stderr


def test_workers_make_the_files_of_a_folder(
    model_folder: Path, new_csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of this machine, as many as are asked for; what does not go together is refused."""
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("a.csv", "b.csv"):
        (folder / name).write_bytes(new_csv.read_bytes())
    assert call(model_folder, folder, "-o", tmp_path / "one").exit_code == 0
    done = call(model_folder, folder, "-o", tmp_path / "two", "--engine", "dask", "--jobs", "1")
    assert done.exit_code == 0, done.stderr
    assert "100 records" in done.stderr
    for name in ("a.csv", "b.csv", "_SUCCESS"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    for wrong, message in (
        (("--scheduler", "tcp://127.0.0.1:1"), "give --engine dask too"),
        (("--engine", "dask", "--scheduler", "tcp://127.0.0.1:1", "--jobs", "2"), "a cluster has its own workers"),
    ):
        assert message in call(model_folder, folder, "-o", tmp_path / "three", *wrong).stderr
    monkeypatch.setitem(sys.modules, "kilter.service.formats.dask_cluster", None)
    with pytest.raises(click.UsageError, match=r"pip install 'kilter\[dask\]'"):
        open_cluster(model_folder, "cpu", None, 1)


def test_what_is_said_at_the_end_is_a_file_too(model_folder: Path, new_csv: Path, tmp_path: Path) -> None:
    """How many anomalies there are and are to be expected, and which fields are to blame."""
    lines = new_csv.read_text().splitlines()
    cells = lines[7].split(",")
    lines[7] = ",".join([cells[0], "900.0", *cells[2:]])
    new_csv.write_text("\n".join(lines))
    out, summary = tmp_path / "out.csv", tmp_path / "summary.json"
    result = call(model_folder, new_csv, "-o", out, "--only-anomalies", "--summary", summary)
    assert result.exit_code == 0, result.stderr
    said = json.loads(summary.read_text())
    assert (said["records"], said["errors"]) == (50, 0)
    assert said["expected_anomalies"] == pytest.approx(2.5, abs=0.5)
    assert said["blamed"]["temperature"] >= 1
    assert "anomalies are to be expected" in result.stderr
    assert "first reason: " in result.stderr
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == said["anomalies"]
    assert "6" in [row["kilter_row"] for row in rows]


def test_nothing_is_overwritten_without_force(model_folder: Path, new_csv: Path, tmp_path: Path) -> None:
    """The command ends with status 2 and a line that says what to do; with --force it overwrites."""
    out = tmp_path / "out.csv"
    out.write_text("before")
    command: list[str | Path] = [KILTER, "score", model_folder, new_csv, "-o", out]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, out.read_text()) == (2, "before")
    assert done.stderr == f"kilter: {out} exists already: choose another name, or overwrite it with --force\n"
    assert call(model_folder, new_csv, "-o", out, "--force").exit_code == 0
    assert out.read_text() != "before"


def test_a_reader_that_has_enough_is_no_error(model_folder: Path, tmp_path: Path) -> None:
    """When the other end of the pipe closes, the command ends quietly."""
    path = write_csv(tmp_path / "long.csv", np.random.default_rng(6), 5000)
    with subprocess.Popen(
        [KILTER, "score", model_folder, path], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith(b"id,")
        process.stdout.close()
        assert process.stderr.read() == b""


def test_scoring_needs_no_training(model_folder: Path, new_csv: Path) -> None:
    """On a CPU the command imports neither torch nor anything of the training code."""
    program = (
        "import sys; from kilter.service.cli import main\n"
        "try: main()\n"
        "finally: print([m for m in ('torch', 'training', 'pandas', 'sklearn') if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "score", model_folder, new_csv, "--device", "cpu"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr.endswith("[]\n")


def test_a_file_in_another_dialect_gets_the_same_verdicts(model_folder: Path, new_csv: Path, tmp_path: Path) -> None:
    """Found, with one note; or stated, without any; and the output is written as the input is."""
    assert call(model_folder, new_csv, "-o", tmp_path / "a.csv").exit_code == 0
    text = new_csv.read_text()
    new_csv.write_text("# by hand\n" + text.replace(",", "^"))
    done = call(model_folder, new_csv, "-o", tmp_path / "b.csv")
    assert done.stderr.startswith(f"note: {new_csv} is read with the delimiter '^'; from line 2 on, without")
    new_csv.write_text(text.replace(",", "="))
    stated = call(model_folder, new_csv, "-o", tmp_path / "c.csv", "--delimiter", "=", "--encoding", "utf-8")
    assert stated.stderr.startswith("50 records, ")
    with (tmp_path / "a.csv").open(newline="") as file:
        usual = list(csv.reader(file))
    for name, delimiter in (("b.csv", "^"), ("c.csv", "=")):
        with (tmp_path / name).open(newline="") as file:
            assert list(csv.reader(file, delimiter=delimiter)) == usual


def test_json_is_scored(model_folder: Path, new_csv: Path, tmp_path: Path) -> None:
    """A record in each line, or a list of them, into a table of any kind."""
    assert call(model_folder, new_csv, "-o", tmp_path / "a.parquet").exit_code == 0
    expected = pl.read_parquet(tmp_path / "a.parquet")
    records = pl.read_csv(new_csv).to_dicts()
    texts = {"x.ndjson": "\n".join(map(json.dumps, records)), "x.json": json.dumps(records)}
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
        for out in ("b.parquet", "b.csv"):
            done = call(model_folder, tmp_path / name, "-o", tmp_path / out, "--force")
            assert done.exit_code == 0, done.output
        assert pl.read_parquet(tmp_path / "b.parquet")["kilter_score"].equals(expected["kilter_score"])
        assert pl.read_csv(tmp_path / "b.csv").height == 50


def test_rows_that_were_trained_on_are_told(
    model_folder: Path, training_csv: Path, new_csv: Path, tmp_path: Path
) -> None:
    """The file itself is known by its content, most of its rows in another order and form by themselves."""
    lines = training_csv.read_text().splitlines()
    part = tmp_path / "part.csv"
    part.write_text("\n".join([lines[0], *lines[:0:-2]]).replace(",", ";") + "\n")
    known = "such records score lower, and are flagged less often, than new ones"
    whole, some, new = (
        call(model_folder, file, "-o", tmp_path / f"{i}.csv") for i, file in enumerate((training_csv, part, new_csv))
    )
    assert whole.exit_code == some.exit_code == new.exit_code == 0
    assert f"note: {training_csv} is a file or folder that the model was trained on: {known}" in whole.stderr
    assert (
        f"note: most records of {part} were in the training (300 of 300 that can be looked up): {known}" in some.stderr
    )
    assert known not in new.stderr
    piped = call(model_folder, "-", data=part.read_bytes())
    assert f"note: most records of - were in the training (300 of 300 that can be looked up): {known}" in piped.stderr


def test_one_record_is_one(model_folder: Path, new_csv: Path, tmp_path: Path) -> None:
    """In the summary."""
    new_csv.write_text("\n".join(new_csv.read_text().splitlines()[:2]) + "\n")
    assert call(model_folder, new_csv, "-o", tmp_path / "out.csv").stderr.startswith(
        "1 record, 0 anomalies, 0 in error"
    )


def test_anomalies_have_their_nearest_normal(
    model_folder: Path, detector: Detector, new_csv: Path, tmp_path: Path
) -> None:
    """In every format of the output alike; the row with the changes is scored as normal. Mistakes are told at once."""
    lines = new_csv.read_text().splitlines()
    cells = lines[7].split(",")
    lines[7] = ",".join([cells[0], "900.0", *cells[2:]])
    new_csv.write_text("\n".join(lines))
    columns = []
    for name in ("out.csv", "out.parquet", "out.arrow"):
        options = ("--nearest-normal", "--keep", "line", "--keep", "product")
        result = call(model_folder, new_csv, "-o", tmp_path / name, *options)
        assert result.exit_code == 0, result.stderr
        readers: dict[str, Callable[[Path], pl.DataFrame]] = {
            ".csv": pl.read_csv,
            ".parquet": pl.read_parquet,
            ".arrow": pl.read_ipc,
        }
        columns.append(readers[Path(name).suffix](tmp_path / name)["kilter_nearest_normal"].to_list())
    assert columns[0] == columns[1] == columns[2]
    nearest = json.loads(columns[0][6])
    assert nearest["changes"][0] | {"to": None} == {"field": "temperature", "from": 900.0, "to": None}
    cells[1] = str(nearest["changes"][0]["to"])
    lines[7] = ",".join(cells)
    assert (
        call(model_folder, "-", "--only-anomalies", data="\n".join([lines[0], lines[7]]).encode()).stdout.count("\n")
        == 1
    )
    for wrong, message in (
        (("--keep", "line"), "give --nearest-normal too"),
        (("--nearest-normal", "--keep", "lime"), "did you mean 'line'"),
        (("--nearest-normal", "--fdr", "0.1"), "leave --fdr or --nearest-normal out"),
    ):
        refused = call(model_folder, new_csv, "-o", tmp_path / "other.csv", *wrong)
        assert refused.exit_code
        assert message in refused.stderr + str(refused.exception)
        assert not (tmp_path / "other.csv").exists()
