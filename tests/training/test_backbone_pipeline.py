"""Training with a backbone from folder to artifact: what is stored and told, what it finds, where it runs."""

import hashlib
from base64 import b64encode
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from kilter.service.cli import GROUP, build, run_command_line
from kilter.service.detector import KilterError, load
from kilter.service.detector import detector as detecting
from kilter.service.detector.detector import Detector
from kilter.service.detector.manifest import BackboneEntry
from tests.support.backbones import FILTERS, write_backbone
from tests.support.digits import digits, spoiled, write_pictures
from tests.support.pictures import encoded

KILTER_GROUP = build(list(entry_points(group=GROUP)))
SIZE = 16


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Good digits, a table, a brief configuration, and a backbone of a fixed size."""
    folder = tmp_path_factory.mktemp("backbone")
    write_pictures(folder / "digits", digits()[:120])
    (folder / "table.csv").write_text("a\n" + "1\n2\n" * 50)
    (folder / "brief.toml").write_text("target_fpr = 0.1\nbaselines = false\n[fit]\nsteps = 20\n")
    write_backbone(folder / "net.onnx", 3, (SIZE, SIZE))
    return folder


def records(images: npt.NDArray[np.uint8]) -> list[dict[str, str]]:
    """Pictures as a client sends them."""
    return [{"image": b64encode(encoded(image)).decode()} for image in images]


def train(folder: Path, source: str, models: Path, *arguments: str) -> int:
    """The exit status of `kilter train` with the backbone."""
    given = (str(folder / source), "--name", "digits", "--models", str(models), "--config", str(folder / "brief.toml"))
    return run_command_line(KILTER_GROUP, ["train", *given, "--backbone", str(folder / "net.onnx"), *arguments])


@pytest.fixture(scope="module")
def model(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a version."""
    models = tmp_path_factory.mktemp("models")
    assert train(folder, "digits", models) == 0
    return models / "digits" / "1"


@pytest.fixture(scope="module")
def detector(model: Path) -> Detector:
    """Loaded, which replays its probes."""
    return load(model)


def test_the_artifact_says_which_backbone_is_part_of_it(folder: Path, model: Path, detector: Detector) -> None:
    """By file name, SHA-256 and shape; the pictures have the size that it takes."""
    digest = hashlib.sha256((folder / "net.onnx").read_bytes()).hexdigest()
    score, image = detector.manifest.score, detector.schema.columns[0]
    assert (score.kind, score.name) == ("backbone-neighbours", "neighbours")
    assert score.backbone == BackboneEntry("net.onnx", digest)
    assert (score.shape["channels"], score.shape["features"]) == (3, [FILTERS, SIZE // 4, SIZE // 4])
    assert image.shape[:2] == (SIZE, SIZE)
    for document in ("MODEL_CARD.md", "report.html"):
        text = (model / document).read_text()
        assert f"net.onnx, SHA-256 {digest}" in text
        assert "licence" in text
    assert "local features of training pictures" in (model / "MODEL_CARD.md").read_text()


def test_a_blot_is_flagged_and_new_digits_are_not(detector: Detector) -> None:
    """With a region as the reason; a picture has its score alone and among others."""
    good, bad = digits()[120:200], np.stack([spoiled(one) for one in digits()[200:240]])
    usual, odd = (detector.score(records(images), reasons=1) for images in (good, bad))
    assert odd.anomaly.mean() > 0.8
    assert usual.anomaly.mean() < 0.35
    assert odd.reasons is not None
    assert all(odd.reasons)
    alone = [detector.score(records(bad[i : i + 1])).score[0] for i in range(10)]
    np.testing.assert_allclose(alone, odd.score[:10], atol=2e-4)


def test_it_runs_on_a_cpu_only(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine with a GPU too, where `auto` is the CPU, and asking for the GPU is an error."""
    monkeypatch.setattr(detecting, "pick_device", lambda device: "cuda")
    assert load(model, "auto").device == "cpu"
    with pytest.raises(KilterError, match="runs on a CPU only, and not on 'cuda'"):
        load(model, "cuda")


@pytest.mark.parametrize(
    ("source", "arguments", "message"),
    [
        ("table.csv", (), "--backbone is for pictures"),
        ("digits", ("--score", "elbo"), "--backbone is for the score neighbours, not elbo"),
        ("digits", ("--image-size", "32"), "takes pictures of 16x16 only"),
        ("digits", ("--backbone", "absent.onnx"), "absent.onnx cannot be read"),
    ],
)
def test_what_does_not_go_with_a_backbone_is_refused(
    source: str,
    arguments: tuple[str, ...],
    message: str,
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Exit status 2, a clear message, and no model."""
    assert train(folder, source, tmp_path / "models", *arguments) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "models").exists()
