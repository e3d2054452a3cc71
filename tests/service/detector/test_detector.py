"""Tests of `detector.detector`: the one way from records to verdicts."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from kilter.service.detector import ArtifactError, Calibration, Detector, KilterError, RecordsError, load
from kilter.service.detector.artifact import MANIFEST, PROBES
from kilter.service.detector.detector import Judge, Scorer
from kilter.service.detector.manifest import Probes
from kilter.service.detector.modalities import modality_of
from kilter.service.detector.thresholds import Groups, Thresholds
from tests.support import detectors
from tests.support.artifacts import ARTIFACTS, rewritten
from tests.support.detectors import SCHEMA, Squares
from tests.support.manifests import manifest

RECORDS: list[dict[str, Any]] = [
    {"amount": 1.0, "age": 1.0, "colour": "red"},
    {"amount": 9.0, "age": None, "colour": "blue"},
    {"amount": "x", "age": 2.0, "colour": "red"},
]


@pytest.fixture
def detector() -> Detector:
    """A detector of squares."""
    return detectors.detector(0.1, 99)


def test_a_verdict_is_a_score_held_against_the_calibration(detector: Detector) -> None:
    """Its p-value and flag are those of the calibration, and its features what is watched."""
    verdicts = detector.score(RECORDS[:2])
    assert verdicts.score.tolist() == [2.0, 83.0]
    assert np.array_equal(verdicts.p_value, detector.calibration.p_values(verdicts.score))
    assert verdicts.anomaly.tolist() == [False, True]
    assert verdicts.features.shape == (2, 3)
    nothing: list[Any] = [verdicts.reasons, verdicts.threshold, verdicts.tail_probability]
    assert nothing == [None] * 3
    assert verdicts.problems == []


def test_a_record_that_does_not_fit_is_an_error_or_is_marked(detector: Detector) -> None:
    """Marked it has neither score nor p-value, is no anomaly, has no reason, and the others are judged."""
    with pytest.raises(RecordsError, match="record 2, field 'amount'"):
        detector.score(RECORDS)
    verdicts = detector.score(RECORDS, errors="mark", reasons=2)
    assert np.isnan(verdicts.score).tolist() == np.isnan(verdicts.p_value).tolist() == [False, False, True]
    assert verdicts.anomaly.tolist() == [False, True, False]
    assert [problem.row for problem in verdicts.problems] == [2]
    assert verdicts.reasons is not None
    assert [len(reasons) for reasons in verdicts.reasons] == [2, 2, 0]
    with pytest.raises(RecordsError):
        detector.elbo_terms(RECORDS)


def test_what_is_wrong_with_a_whole_input_is_an_error_even_where_records_are_marked(detector: Detector) -> None:
    """There is no record that could be marked."""
    from kilter.service.detector.inputs import from_columns

    with pytest.raises(RecordsError, match="field 'age': the column is missing"):
        detector.score(from_columns(SCHEMA, {"amount": [1.0], "colour": ["red"]}), errors="mark")


def test_scores_are_rounded_to_six_places(detector: Detector) -> None:
    """Beyond them are a float32's own."""
    score = detector.score([{"amount": 1.23456789, "age": 0.0, "colour": "red"}]).score[0]
    assert score == round(score, 6)
    assert score == pytest.approx(1.23456789**2, abs=1e-6)


def test_the_terms_of_the_elbo_are_told_row_by_row(detector: Detector) -> None:
    """Their sum is the negative ELBO."""
    reconstruction, kl = detector.elbo_terms(RECORDS[:2])
    assert reconstruction.tolist() == [2.0, 83.0]
    assert kl.tolist() == [0.5, 0.5]


def test_a_judge_needs_no_manifest() -> None:
    """A model in training judges as it will when it is loaded, groups included."""
    scorer = Scorer(modality_of(SCHEMA), Squares())
    common = Calibration.of(np.arange(99.0), 0.1, 6)
    groups = Groups(SCHEMA.columns[2], {"blue": Calibration.of(np.arange(100.0, 119.0), 0.1, 6)})
    judge = Judge(scorer, Thresholds(common, groups))
    assert (judge.device, judge.modality) == ("cpu", scorer.modality)
    assert judge.table(RECORDS[:1]).rows == 1
    verdicts = judge.score(RECORDS[:2])
    assert verdicts.threshold is not None
    assert verdicts.threshold.tolist() == [common.threshold, 117.0]
    assert verdicts.anomaly.tolist() == [False, False]


def probed(**changes: Any) -> Detector:
    """A detector with two probes and the verdicts that it gives on them, or others."""
    own = detectors.detector(0.1, 99)
    records = RECORDS[:2]
    verdicts = own.score(records)
    values = {
        "scores": verdicts.score.tolist(),
        "p_values": verdicts.p_value.tolist(),
        "anomalies": verdicts.anomaly.tolist(),
    }
    return Detector(own.manifest, Squares(), own.calibration, Probes(records, **{**values, **changes}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scores": [2.0, 83.1]}, "probe 1 scores 83 on cpu and must score 83.1"),
        ({"scores": [float("nan"), 83.0]}, "probe 0 scores 2 on cpu and must score nan"),
        ({"scores": [2.00006, 83.0]}, "probe 0 scores 2 on cpu and must score 2.00006"),
        ({"anomalies": [True, True]}, "probe 0 is flagged False and must be flagged True"),
        ({"anomalies": [False, False]}, "probe 1 is flagged True and must be flagged False"),
    ],
)
def test_a_probe_with_another_verdict_than_it_must_have_is_named(changes: dict[str, Any], message: str) -> None:
    """With both values."""
    with pytest.raises(ArtifactError, match=message):
        probed(**changes).replay()


def test_probes_within_the_tolerance_replay() -> None:
    """By 1e-5 times max(1, |score|): devices differ by as much."""
    probed().replay()
    probed(scores=[2.00001, 83.0008]).replay()


def test_on_another_device_a_probe_at_the_threshold_may_be_flagged_or_not() -> None:
    """Where scores differ in the last digit; anywhere else a flag is a flag."""
    own = detectors.detector(0.1, 99)
    edge = own.calibration.threshold
    amount = float(np.sqrt(edge))
    record = {"amount": amount, "age": 0.0, "colour": "red"}
    score = own.score([record]).score.tolist()
    for flag in (True, False):
        probes = Probes([record], score, [0.5], [flag])
        Detector(own.manifest, Squares(), own.calibration, probes).replay()
    flagged = probed(anomalies=[True, True])
    flagged.scorer.program = Elsewhere()
    flagged.replay()


class Elsewhere(Squares):
    """The same program on a device whose flags need not be those of the CPU."""

    device = "cuda"


def test_a_detector_is_what_its_manifest_says(detector: Detector) -> None:
    """Name, version and schema are looked up there."""
    assert (detector.name, detector.version, detector.schema) == ("toy", 1, SCHEMA)
    assert detector.reference.shares is None
    assert detector.device == "cpu"


@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_a_model_is_loaded_by_its_folder_or_by_that_of_a_version(device: str, tmp_path: Path) -> None:
    """The version that serves, on a CPU where there is nothing else."""
    shutil.copytree(ARTIFACTS / "format-2", tmp_path / "plant" / "1")
    one, other = load(tmp_path / "plant", device), load(str(tmp_path / "plant" / "1"))
    assert one.manifest == other.manifest
    assert one.device == "cpu"
    with pytest.raises(KilterError, match="the device is auto, cpu, cuda or cuda:n, not 'tpu'"):
        load(tmp_path / "plant", "tpu")


def edited(change: Callable[[Any], object]) -> Callable[[bytes], bytes]:
    """A change of a JSON file's content."""

    def edit(content: bytes) -> bytes:
        value = msgspec.json.decode(content)
        change(value)
        return msgspec.json.encode(value)

    return edit


def test_a_model_without_detail_loads_and_scores(tmp_path: Path) -> None:
    """It gives the same scores, and says plainly that it explains nothing and tells no terms."""
    change = edited(lambda values: values["programs"].pop("detail"))
    bare = load(rewritten(ARTIFACTS / "format-2", tmp_path / "1", {MANIFEST: change}))
    whole = load(ARTIFACTS / "format-2")
    records = whole.probes.records
    assert np.array_equal(bare.score(records).score, whole.score(records).score)
    for ask in (lambda: bare.score(records, reasons=1), lambda: bare.elbo_terms(records)):
        with pytest.raises(KilterError, match="the model holds no program 'detail'"):
            ask()


def test_a_model_of_pictures_without_detail_loads_and_scores(tmp_path: Path) -> None:
    """There is no evidence whose grid could be wrong."""
    change = edited(lambda values: values["programs"].pop("detail"))
    folder = shutil.copytree(ARTIFACTS / "format-1-pictures", tmp_path / "old")
    whole = load(folder)

    def as_format_2(content: bytes) -> bytes:
        return change(msgspec.json.encode(whole.manifest))

    import safetensors.numpy

    from kilter.service.detector.artifact import read_artifact

    tensors = read_artifact(folder).tensors
    changes = {MANIFEST: as_format_2, "tensors.safetensors": lambda _: safetensors.numpy.save(tensors)}
    bare = load(rewritten(folder, tmp_path / "1", changes))
    assert np.array_equal(bare.score(bare.probes.records).score, whole.score(bare.probes.records).score)
    with pytest.raises(KilterError, match="the model holds no program 'detail'"):
        bare.score(bare.probes.records, reasons=1)


def test_what_is_wrong_with_an_artifact_is_said_with_its_folder(tmp_path: Path) -> None:
    """Whichever check fails it."""
    change = edited(lambda probes: probes["scores"].__setitem__(0, 99.0))
    folder = rewritten(ARTIFACTS / "format-2", tmp_path / "1", {PROBES: change})
    with pytest.raises(ArtifactError) as caught:
        load(folder)
    assert str(caught.value).startswith(f"{folder}: model plant version 1, probes.json: probe 0 scores")


def test_another_schema_s_manifest_says_which_modality_a_detector_has() -> None:
    """The grid of its evidence comes from there."""
    calibration = Calibration.of(np.arange(99.0), 0.1, 6)
    own = Detector(manifest(SCHEMA, calibration), Squares(), calibration, Probes([], [], [], []))
    assert own.modality.schema == SCHEMA
    assert own.modality.grid is None
