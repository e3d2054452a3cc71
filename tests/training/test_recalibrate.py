import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest

from kilter.service.detector import Detector, KilterError, artifact, load, store
from kilter.service.formats.reading import read_frame, to_table
from kilter.training.data.source import LabelledRows
from kilter.training.recalibrate import recalibrate


def typed(detector: Detector, path: Path) -> LabelledRows:
    """A file as the detector reads it, without labels."""
    return LabelledRows(to_table(detector.schema, read_frame([path]).frame), detector.schema, None, ())


def test_the_next_version_has_a_new_threshold_and_the_old_network(
    model: Path, source: Path, detector: Detector
) -> None:
    """Scores stay, the threshold is that of the new rows, and the probes' verdicts follow it."""
    table = typed(detector, source)
    done = recalibrate(model, table, source, target_fpr=0.1)
    assert done.folder == model / "2"
    assert (done.detector.version, done.unread, done.surplus) == (2, 0, 1)
    assert done.detector.manifest.calibration.size == 149
    assert done.detector.calibration.expected_fpr == pytest.approx(0.1)
    old, new = detector.score(table.table), done.detector.score(table.table)
    assert (old.score == new.score).all()
    assert np.isin(done.detector.calibration.scores, np.round(new.score, detector.calibration.digits)).all()
    probes, before = done.detector.probes, artifact.read_artifact(model / "1").probes
    assert probes.scores == before.scores
    assert probes.p_values == done.detector.calibration.p_values(np.array(probes.scores)).tolist()
    assert load(model).version == 2


def test_the_old_rate_is_kept_unless_another_is_asked_for(model: Path, source: Path, detector: Detector) -> None:
    """And how it came about; the rows needed for one that cannot be supported are named."""
    table = typed(detector, source)
    kept = recalibrate(model, table, source).detector
    assert kept.calibration.target_fpr == detector.calibration.target_fpr
    assert kept.manifest.calibration.chosen == detector.manifest.calibration.chosen
    assert not kept.manifest.calibration.left_out
    with pytest.raises(KilterError, match="needs at least 199 calibration rows; there are 150"):
        recalibrate(model, table, source, target_fpr=0.005)
    assert store.versions(model) == [1, 2]


def test_every_document_says_what_has_changed(model: Path, source: Path, detector: Detector) -> None:
    """Report, card and manifest; a second recalibration replaces the notice of the first."""
    table = typed(detector, source)
    for version in (2, 3):
        folder = recalibrate(model, table, source).folder
        report, card = (folder / "report.html").read_text(), (folder / "MODEL_CARD.md").read_text()
        for text in (report, card):
            assert text.count(f"This is version {version}: version {version - 1} with a new threshold") == 1
            assert "All figures below are those of version 1" in text
            assert text.count("with a new threshold") == 1
        assert card.startswith(f"# plant, version {version}\n")
    training = artifact.read_artifact(folder).manifest.training
    assert training.evaluation is None
    assert training.recalibration is not None
    assert training.recalibration.file.name == "new.csv"
    assert training.recalibration.from_version == 2
    assert training.recalibration.trained_version == 1
    assert training.recalibration.earlier_evaluation == detector.manifest.training.evaluation is not None


def test_rows_that_cannot_be_read_take_no_part(model: Path, source: Path, detector: Detector) -> None:
    """They are counted."""
    lines = source.read_text().splitlines()
    lines[1] = lines[1].replace(lines[1].split(",")[1], "hot")
    source.write_text("\n".join(lines) + "\n")
    done = recalibrate(model, typed(detector, source), source, target_fpr=0.1)
    assert (done.unread, done.surplus) == (1, 0)


def test_where_rows_were_split_by_time_the_oldest_are_dropped(model: Path, source: Path, detector: Detector) -> None:
    """The threshold is that of the newest rows; one without a time goes first."""
    found = artifact.read_artifact(model / "1")
    info = msgspec.structs.replace(found.manifest.calibration, split="time")

    def files(version: int) -> dict[str, bytes]:
        manifest = msgspec.structs.replace(found.manifest, version=version, calibration=info)
        documents = {"report.html": b"<main>\n", "MODEL_CARD.md": b"# plant\n\nIt is."}
        return artifact.pack(manifest, found.tensors, found.programs, found.probes, documents)

    store.add(model.parent, "plant", files)
    rows = typed(detector, source)
    table = rows.table
    times = table.columns["at"]
    times[17] = np.datetime64("NaT")
    by_age = np.lexsort((times, ~np.isnat(times)))
    assert by_age[0] == 17
    done = recalibrate(model, rows, source, target_fpr=0.1)
    scores = np.sort(np.round(detector.score(table).score[by_age[1:]], detector.calibration.digits))
    assert done.detector.manifest.calibration.split == "time"
    assert done.detector.calibration.scores.tolist() == scores.tolist()


def test_training_rows_are_refused(model: Path, training_csv: Path, detector: Detector) -> None:
    """A threshold set on what the network was fitted to would break its promise."""
    with pytest.raises(KilterError, match="is a file that the model was trained on"):
        recalibrate(model, typed(detector, training_csv), training_csv)


def test_a_version_that_stands_alone_is_refused(model: Path, source: Path, detector: Detector) -> None:
    """Where the next version should go is not known; the message says what to do."""
    alone = Path(shutil.copytree(model / "1", model.parent / "elsewhere"))
    with pytest.raises(KilterError, match="put it in a folder plant/1"):
        recalibrate(alone, typed(detector, source), source)


def test_the_same_rows_and_seed_give_the_same_threshold(model: Path, source: Path, detector: Detector) -> None:
    """Which surplus row is dropped is a matter of the seed alone."""
    table = typed(detector, source)
    one, two = (recalibrate(model, table, source, target_fpr=0.1, seed=4).detector.calibration for _ in range(2))
    assert (one.scores == two.scores).all()
