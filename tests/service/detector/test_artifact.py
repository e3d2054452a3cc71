"""Tests of `detector.artifact` and of loading: an artifact is untrusted input."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kilter.service.detector import ArtifactError, load
from kilter.service.detector.artifact import FORMAT, MANIFEST, PROBES, TENSORS, read_artifact
from kilter.service.detector.scores import find_score_kind
from kilter.service.detector.store import SUMS
from tests.support.artifacts import ARTIFACTS, rebuilt, rewritten, stored

SCORE_PROGRAM, DETAIL_PROGRAM = "score.onnx", "detail.onnx"
PROGRAMS = (SCORE_PROGRAM, DETAIL_PROGRAM, "encode.onnx", "decode.onnx", "place.onnx")
EVERY_FILE = (MANIFEST, PROBES, *PROGRAMS, TENSORS, "report.html", "MODEL_CARD.md", SUMS)
STORED = sorted(path.name for path in ARTIFACTS.iterdir() if path.is_dir())


def test_an_artifact_holds_the_files_of_the_design(model_folder: Path) -> None:
    """Every file is listed in the checksums, and none is a pickle."""
    folder = model_folder / "1"
    assert {path.name for path in folder.iterdir()} == set(EVERY_FILE)
    assert {line.split()[1] for line in (folder / SUMS).read_text().splitlines()} == set(EVERY_FILE) - {SUMS}
    assert not [path for path in folder.iterdir() if path.read_bytes()[:1] == b"\x80"]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_any_flipped_byte_of_any_file_is_refused_and_the_file_named(
    data: st.DataObject, model_folder: Path, tmp_path: Path
) -> None:
    """Corruption is found before anything is built, the manifest and the checksums included."""
    source = model_folder / "1"
    name = data.draw(st.sampled_from(EVERY_FILE))
    content = bytearray((source / name).read_bytes())
    position = data.draw(st.integers(0, len(content) - 1))
    content[position] ^= data.draw(st.integers(1, 255))
    folder = tmp_path / "1"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(source, folder)
    (folder / name).write_bytes(content)
    with pytest.raises(ArtifactError) as caught:
        read_artifact(folder)
    assert name in str(caught.value)


@pytest.mark.parametrize("name", EVERY_FILE)
def test_a_file_that_is_cut_short_or_gone_is_named(name: str, model_folder: Path, tmp_path: Path) -> None:
    """Truncation and loss are corruption too."""
    folder = shutil.copytree(model_folder / "1", tmp_path / "1")
    (folder / name).write_bytes((folder / name).read_bytes()[:-7])
    with pytest.raises(ArtifactError, match=name):
        read_artifact(folder)
    (folder / name).unlink()
    with pytest.raises(ArtifactError, match=name):
        read_artifact(folder)


def edited(change: Callable[[dict[str, Any]], object]) -> Callable[[bytes], bytes]:
    """A change of a JSON file's content."""

    def edit(content: bytes) -> bytes:
        value = msgspec.json.decode(content)
        change(value)
        return msgspec.json.encode(value)

    return edit


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(format=99), "format 99 is newer than this version of Kilter can read"),
        (lambda m: m.update(format="1"), "there is no artifact format '1'"),
        (lambda m: m.pop("schema"), "missing required field `schema`"),
        (lambda m: m.update(surprise=1), "unknown field `surprise`"),
        (lambda m: m["schema"].update(rows="many"), "rows"),
        (lambda m: m["network"].update(kind="oracle"), "no network of kind 'oracle'"),
        (lambda m: m["score"].update(kind="oracle"), "no score of kind 'oracle'"),
        (lambda m: m["programs"].pop("score"), "there is no program 'score', which every artifact has"),
        (lambda m: m["programs"].update(detail="other.onnx"), "does not list other.onnx, which the manifest names"),
        (lambda m: m["calibration"].update(threshold=0.0), "threshold is 0.0, its scores give"),
        (lambda m: m["calibration"].update(size=3), "are not 3 ascending scores"),
        (lambda m: m["calibration"].update(target_fpr=1e-6), "needs at least 999999 calibration records"),
        (lambda m: m["tensors"].popitem(), "the manifest says None"),
        (lambda m: m["schema"]["columns"].pop(), r"the program takes x \['.*', 8\]"),
    ],
)
def test_a_manifest_that_was_tampered_with_is_refused(
    change: Callable[[dict[str, Any]], object], message: str, model_folder: Path, tmp_path: Path
) -> None:
    """Checksums that fit do not make a wrong manifest right."""
    folder = rewritten(model_folder / "1", tmp_path / "1", {MANIFEST: edited(change)})
    with pytest.raises(ArtifactError, match=message):
        load(folder)


def test_probes_that_do_not_replay_are_refused_with_both_values(model_folder: Path, tmp_path: Path) -> None:
    """The message names the file, the probe, what it scores and what it must score."""
    change = edited(lambda probes: probes["scores"].__setitem__(3, 123.5))
    folder = rewritten(model_folder / "1", tmp_path / "1", {PROBES: change})
    with pytest.raises(ArtifactError, match=rf"{PROBES}: probe 3 scores .* on cpu and must score 123.5"):
        load(folder)


@pytest.mark.parametrize("part", ["scores", "p_values", "anomalies"])
def test_probes_without_as_many_verdicts_as_records_are_refused(part: str, model_folder: Path, tmp_path: Path) -> None:
    """By their file, before they are replayed."""
    folder = rewritten(model_folder / "1", tmp_path / "1", {PROBES: edited(lambda probes: probes[part].pop())})
    with pytest.raises(ArtifactError, match=f"{PROBES}: there are not as many verdicts as records"):
        load(folder)


@pytest.mark.parametrize("file", [SCORE_PROGRAM, DETAIL_PROGRAM])
def test_a_program_that_is_none_is_refused(file: str, model_folder: Path, tmp_path: Path) -> None:
    """Bytes that are no ONNX program are an ArtifactError, not a crash."""
    folder = rewritten(model_folder / "1", tmp_path / "1", {file: lambda _: b"no program"})
    with pytest.raises(ArtifactError, match="the program cannot be loaded"):
        load(folder)


def test_tensors_that_are_not_finite_are_refused(model_folder: Path, tmp_path: Path) -> None:
    """A NaN among the weights is found before they are used."""
    import safetensors.numpy

    def poison(content: bytes) -> bytes:
        tensors = safetensors.numpy.load(content)
        name = next(name for name, array in tensors.items() if array.dtype == np.float32 and array.size > 3)
        tensors[name].flat[0] = np.nan
        return safetensors.numpy.save(tensors)

    folder = rewritten(model_folder / "1", tmp_path / "1", {TENSORS: poison})
    with pytest.raises(ArtifactError, match="holds values that are not finite"):
        load(folder)


def test_a_folder_that_is_no_model_is_refused(tmp_path: Path) -> None:
    """Nothing there, an empty folder, and a file each get a clear message."""
    with pytest.raises(ArtifactError, match="there is nothing at"):
        load(tmp_path / "absent")
    with pytest.raises(ArtifactError, match="no model at"):
        load(tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(ArtifactError, match="no model at"):
        load(tmp_path / "file")


@pytest.mark.parametrize("name", STORED)
def test_artifacts_of_every_format_give_the_verdicts_that_they_gave(name: str) -> None:
    """Scores to the four digits in which calibration scores are held; p-values, flags and reasons exactly."""
    detector, content = load(ARTIFACTS / name), stored(name)
    verdicts = detector.score(content["records"], reasons=3)
    reconstruction, kl = detector.elbo_terms(content["records"])
    assert verdicts.reasons is not None
    for i, old in enumerate(content["verdicts"]):
        assert round(float(verdicts.score[i]), 4) == round(old["score"], 4)
        assert verdicts.p_value[i] == old["p_value"]
        assert verdicts.anomaly[i] == old["anomaly"]
        threshold = detector.calibration.threshold if verdicts.threshold is None else verdicts.threshold[i]
        assert threshold == old["threshold"]
        assert verdicts.tail_probability is None or np.isnan(verdicts.tail_probability[i])
        assert msgspec.to_builtins(verdicts.reasons[i]) == old["reasons"]
        assert reconstruction[i] == pytest.approx(old["reconstruction"], abs=2e-4)
        assert kl[i] == pytest.approx(old["kl"], abs=2e-4)


@pytest.mark.parametrize("name", STORED)
def test_artifacts_of_every_format_are_rebuilt_in_torch(name: str) -> None:
    """On a GPU, where the network is rebuilt from its shape and tensors, within the tolerance of the manifest.

    A model whose score is no longer trained has its exported program alone, and says so.
    """
    if find_score_kind(load(ARTIFACTS / name).manifest.score.kind).exported:
        with pytest.raises(ArtifactError, match="exported program alone"):
            rebuilt(ARTIFACTS / name)
        return
    detector, content = rebuilt(ARTIFACTS / name), stored(name)
    detector.replay()
    verdicts = detector.score(content["records"], reasons=3)
    assert verdicts.reasons is not None
    for i, old in enumerate(content["verdicts"]):
        assert verdicts.score[i] == pytest.approx(old["score"], rel=1e-4, abs=1e-4)
        if abs(old["score"] - old["threshold"]) > 1e-3:
            assert verdicts.anomaly[i] == old["anomaly"]
        reasons = msgspec.to_builtins(verdicts.reasons[i])
        assert [reason.get("feature") for reason in reasons] == [reason.get("feature") for reason in old["reasons"]]
        shares = [reason["share"] for reason in old["reasons"]]
        assert [reason["share"] for reason in reasons] == pytest.approx(shares, abs=2e-3)


def test_an_artifact_of_each_format_is_stored() -> None:
    """Whoever raises the format number adds one of the format before it."""
    formats = {msgspec.json.decode((ARTIFACTS / name / MANIFEST).read_bytes())["format"] for name in STORED}
    assert formats == set(range(1, FORMAT + 1))
