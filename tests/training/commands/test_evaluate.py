import csv
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from kilter.service.detector import KilterError
from kilter.training.commands.evaluate import evaluate
from tests.support.data import records


@pytest.fixture
def labelled_csv(tmp_path: Path) -> Path:
    """100 normal rows and 20 that are far too hot."""
    rng = np.random.default_rng(3)
    rows = [{**record, "class": "ok"} for record in records(rng, 100)]
    rows += [{**record, "temperature": 500.0, "class": "hot"} for record in records(rng, 20)]
    path = tmp_path / "labelled.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows({k: str(v).lower() if isinstance(v, bool) else v for k, v in row.items()} for row in rows)
    return path


def test_labels_are_evaluated_in_words(model_folder: Path, labelled_csv: Path) -> None:
    """Verdicts, counts and a table of figures with intervals."""
    done = CliRunner().invoke(evaluate, [str(model_folder), str(labelled_csv), "--label", "class", "--normal", "ok"])
    assert done.exit_code == 0, done.output
    assert "plant version 1" in done.output
    assert "ROC AUC of 1.000" in done.output
    assert "where 16.7 % are anomalies, as here" in done.output
    assert "anomalies: 20 flagged, 0 missed" in done.output
    assert "average precision" in done.output


def test_figures_come_as_json(model_folder: Path, labelled_csv: Path) -> None:
    """The same figures, for programs."""
    options = ["--label", "class", "--normal", "ok", "--json"]
    done = CliRunner().invoke(evaluate, [str(model_folder), str(labelled_csv), *options])
    found = json.loads(done.stdout)
    assert found["model"] == {"name": "plant", "version": 1}
    assert found["trained_on"] is False
    assert found["labelled"]["counts"]["tp"] == 20
    assert found["labelled"]["roc_auc"]["value"] == 1.0


def test_rows_that_cannot_be_read_are_told_by_the_exit_status(model_folder: Path, labelled_csv: Path) -> None:
    """1: done, with rows in error."""
    lines = labelled_csv.read_text().splitlines()
    lines[1] = lines[1].replace(lines[1].split(",")[0], "hot")
    labelled_csv.write_text("\n".join(lines) + "\n")
    done = CliRunner().invoke(evaluate, [str(model_folder), str(labelled_csv)])
    assert done.exit_code == 1
    assert "Rows left out, since they cannot be read: 1." in done.output
    assert "No labels: every row counts as normal." in done.output


def test_a_file_that_was_trained_on_proves_nothing(model_folder: Path, training_csv: Path) -> None:
    """It is evaluated, and called what it is; the promise is not said to hold."""
    done = CliRunner().invoke(evaluate, [str(model_folder), str(training_csv)])
    assert done.exit_code == 0
    assert "The model was trained on this file or folder" in done.output
    assert "The false-alarm rate was not checked" in done.output


def test_a_label_without_a_normal_value_lists_the_values(model_folder: Path, labelled_csv: Path) -> None:
    """The message is the remedy."""
    done = CliRunner().invoke(evaluate, [str(model_folder), str(labelled_csv), "--label", "class"])
    assert isinstance(done.exception, KilterError)
    assert "'ok' (100), 'hot' (20)" in str(done.exception)


def test_a_file_that_is_not_there_is_named(model_folder: Path) -> None:
    """Exit status 2."""
    done = CliRunner().invoke(evaluate, [str(model_folder), "absent.csv"])
    assert done.exit_code == 2
    assert "absent.csv" in done.output


@pytest.mark.parametrize("as_json", [False, True])
def test_a_file_in_another_dialect_is_evaluated_alike(model_folder: Path, labelled_csv: Path, as_json: bool) -> None:
    """Found or stated; what was found is said, on standard error beside JSON."""
    options = ["--label", "class", "--normal", "ok", *(["--json"] if as_json else [])]
    usual = CliRunner().invoke(evaluate, [str(model_folder), str(labelled_csv), *options])
    text = labelled_csv.read_text()
    labelled_csv.write_bytes(("# made by hand\n" + text.replace(",", "^")).encode("utf-16-le"))
    odd = CliRunner().invoke(evaluate, [str(model_folder), str(labelled_csv), *options])
    assert odd.exit_code == 0, odd.output
    assert usual.stdout.splitlines()[-4:] == odd.stdout.splitlines()[-4:]
    assert "with the delimiter '^'; as UTF-16-LE" in (odd.stderr if as_json else odd.stdout)
    labelled_csv.write_bytes(text.replace(",", "=").encode("utf-16-le"))
    stated = [*options, "--delimiter", "=", "--encoding", "utf-16", "--header"]
    done = CliRunner().invoke(evaluate, [str(model_folder), str(labelled_csv), *stated])
    assert usual.stdout == done.stdout


def test_rows_that_were_trained_on_prove_nothing_in_any_file(
    model_folder: Path, training_csv: Path, tmp_path: Path
) -> None:
    """Most rows of another file may be those of the training."""
    part = tmp_path / "part.csv"
    part.write_text("\n".join(training_csv.read_text().splitlines()[:300]) + "\n")
    done = CliRunner().invoke(evaluate, [str(model_folder), str(part)])
    assert "Most of these rows were in the training" in done.output
    assert "The false-alarm rate was not checked" in done.output
    found = json.loads(CliRunner().invoke(evaluate, [str(model_folder), str(part), "--json"]).stdout)
    assert found["trained_on"] is True


def test_evidence_is_given_where_it_is_asked_for(model_folder: Path, labelled_csv: Path) -> None:
    """By so many draws, of normal rows alone; a seed gives the same figures again."""
    options = ["--label", "class", "--normal", "ok", "--evidence", "20"]
    told = CliRunner().invoke(evaluate, [str(model_folder), str(labelled_csv), *options])
    assert "bound on log p(x) by 20 draws, nats" in told.output
    first, again = (
        json.loads(CliRunner().invoke(evaluate, [str(model_folder), str(labelled_csv), *options, "--json"]).stdout)
        for _ in range(2)
    )
    assert first == again
    evidence = first["evidence"]
    assert (evidence["samples"], evidence["rows"]) == (20, 100)
    assert evidence["elbo"]["value"] < evidence["bound"]["value"]
    parts = evidence["reconstruction"]["value"] + evidence["kl"]["value"]
    assert evidence["elbo"]["value"] == pytest.approx(-parts)
