"""What is taken as a backbone, and what is refused, each with what would be accepted."""

import hashlib
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

from kilter.service.detector.errors import KilterError
from kilter.training.data.source import TrainingSource
from kilter.training.fitting import programs as reading
from kilter.training.fitting.programs import read_backbone, trace
from tests.support.backbones import FILTERS, write_backbone, write_graph

IDENTITY = "g (float[N,3,H,W] x) => (float[N,3,P,Q] y) { y = Relu(x) }"


def test_a_file_is_read_and_tried(tmp_path: Path) -> None:
    """Its channels, its checksum, and what it gives for a size."""
    path = write_backbone(tmp_path / "net.onnx", 1)
    backbone = read_backbone(path)
    assert (backbone.channels, backbone.size) == (1, None)
    assert backbone.shape(20, 24) == (FILTERS, 5, 6)
    assert backbone.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert backbone.sha256 in backbone.note
    assert "net.onnx" in backbone.note


def test_a_fixed_size_is_that_of_the_pictures(tmp_path: Path) -> None:
    """It is taken where no size is asked for; another one is refused."""
    backbone = read_backbone(write_backbone(tmp_path / "net.onnx", 3, (24, 32)))
    assert backbone.size == (24, 32)
    assert backbone.sized(TrainingSource()).image_size == (24, 32)
    assert backbone.sized(TrainingSource(image_size=(24, 32))).image_size == (24, 32)
    with pytest.raises(KilterError, match=r"--image-size 32x32: net.onnx takes pictures of 24x32 only"):
        backbone.sized(TrainingSource(image_size=(32, 32)))
    with pytest.raises(KilterError, match="cannot be run on pictures"):
        backbone.features(np.zeros((1, 3, 16, 16), np.float32))


def test_weights_among_the_inputs_and_functions_within_are_taken(tmp_path: Path) -> None:
    """As old exporters list them, and as new ones write."""
    path = write_graph(
        tmp_path / "old.onnx",
        "g (float[N,3,H,W] x, float[1] w) => (float[N,3,P,Q] y) <float[1] w = {2}> { y = Mul(x, w) }",
        '"": 11',
        4,
    )
    assert read_backbone(path).shape(8, 8) == (3, 8, 8)
    path = write_graph(
        tmp_path / "function.onnx",
        "g (float[N,3,H,W] x) => (float[N,3,P,Q] y) { y = mine.twice(x) }\n"
        '<domain: "mine", opset_import: ["": 17]> twice (x) => (y) { y = Add(x, x) }',
        '"": 17, "mine": 1',
    )
    backbone = read_backbone(path)
    np.testing.assert_array_equal(backbone.features(np.ones((1, 3, 4, 4), np.float32)), 2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("g (float[N,3] x) => (float[N,3] y) { y = Relu(x) }", r"takes float \(any, 3\): a backbone is"),
        ("g (float[N,4,H,W] x) => (float[N,4,H,W] y) { y = Relu(x) }", r"takes float \(any, 4, any, any\)"),
        ("g (float[N,C,H,W] x) => (float[N,C,H,W] y) { y = Relu(x) }", r"takes float \(any, any, any, any\)"),
        ("g (double[N,3,H,W] x) => (double[N,3,H,W] y) { y = Relu(x) }", r"takes double \(any, 3"),
        ("g (float[1,3,H,W] x) => (float[1,3,H,W] y) { y = Relu(x) }", "1 pictures at a time.*a dynamic batch"),
        ("g (float[N,3,32,W] x) => (float[N,3,32,W] y) { y = Relu(x) }", "both fixed, or neither"),
        ("g (float[N,3,512,512] x) => (float[N,3,512,512] y) { y = Relu(x) }", "512 x 512.*from 8 to 256"),
        (
            "g (float[N,3,H,W] x, float[N,3,H,W] z) => (float[N,3,H,W] y) { y = Add(x, z) }",
            "has 2 inputs: a backbone is",
        ),
        ("g (float[N,3,H,W] x) => (float[N,3,P,Q] y) { y = Unheard(x) }", "no valid ONNX model.*Unheard"),
        ("g (float[N,3,H,W] x) => (float[N,3,P,Q] y) { y = GlobalAveragePool(x) }", "before the last pooling"),
        ("g (float[N,3,H,W] x) => (float[N,P] y) { y = Flatten(x) }", r"first output .* \(3, 3072\)"),
        ("g (float[N,3,H,W] x) => (int64[N,3,H,W] y) { y = Cast<to=7>(x) }", "is int64"),
        ("g (float[N,3,H,W] x) => (float[N,3,H,W] y) { a = Abs(x) b = Neg(a) y = Log(b) }", "not finite"),
        (
            "g (float[N,3,H,W] x) => (float[N,3,H,W] y) { m = ReduceMean<axes=[0]>(x) y = Sub(x, m) }",
            "in evaluation mode",
        ),
    ],
)
def test_what_is_no_backbone_is_refused(text: str, message: str, tmp_path: Path) -> None:
    """By its inputs, its outputs, its operators, or what it gives."""
    path = write_graph(tmp_path / "net.onnx", text)
    with pytest.raises(KilterError, match=f"(?s){message}"):
        read_backbone(path).shape(32, 32)


def test_operators_of_one_runtime_are_refused(tmp_path: Path) -> None:
    """Within a branch too."""
    domains = '"": 17, "com.microsoft": 1'
    text = "g (float[N,3,H,W] x) => (float[N,3,P,Q] y) { y = com.microsoft.Gelu(x) }"
    inner = (
        "g (float[N,3,H,W] x) => (float[N,3,P,Q] y) { c = Constant<value = bool {1}>() y = If (c) "
        "<then_branch = a () => (float[N,3,P,Q] p) { p = com.microsoft.Gelu(x) }, "
        "else_branch = b () => (float[N,3,P,Q] q) { q = Relu(x) }> }"
    )
    for graph in (text, inner):
        with pytest.raises(KilterError, match=r"operators of com\.microsoft"):
            read_backbone(write_graph(tmp_path / "net.onnx", graph, domains))


def test_weights_in_another_file_are_refused(tmp_path: Path) -> None:
    """With the way to put them into the file."""
    model = onnx.load(write_backbone(tmp_path / "net.onnx"))
    onnx.save(model, tmp_path / "apart.onnx", save_as_external_data=True, location="weights", size_threshold=0)
    with pytest.raises(KilterError, match=r"weights in another file.*external_data=False"):
        read_backbone(tmp_path / "apart.onnx")


def test_what_is_no_file_of_onnx_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Absent, a folder, empty, another format, cut short, too large."""
    whole = write_backbone(tmp_path / "whole.onnx").read_bytes()
    (tmp_path / "empty.onnx").write_bytes(b"")
    (tmp_path / "text.onnx").write_text("weights: none\n" * 40)
    (tmp_path / "cut.onnx").write_bytes(whole[: len(whole) // 2])
    for name in ("absent.onnx", "", "empty.onnx", "text.onnx", "cut.onnx"):
        with pytest.raises(KilterError, match="a backbone is an ONNX file with one float32 input") as raised:
            read_backbone(tmp_path / name)
        assert str(tmp_path / name) in str(raised.value)
    monkeypatch.setattr(reading, "MOST_BYTES", 1 << 10)
    with pytest.raises(KilterError, match="a backbone of at most 0 MB"):
        read_backbone(tmp_path / "whole.onnx")
    assert read_backbone(write_graph(tmp_path / "small.onnx", IDENTITY)).size is None


class Doubled(torch.nn.Module):
    """Gives a matrix twice and the sum of each row."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return 2 * x, x.sum(1)


def test_a_traced_module_takes_any_number_of_rows_and_says_nothing_of_its_source() -> None:
    """Its inputs and outputs have the names that are asked for."""
    model = trace(Doubled(), {"x": torch.zeros(2, 3)}, ("twice", "sum"))
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    x = np.arange(15, dtype=np.float32).reshape(5, 3)
    twice, total = session.run(["twice", "sum"], {"x": x})
    np.testing.assert_array_equal(twice, 2 * x)
    np.testing.assert_array_equal(total, x.sum(1))
    assert b"test_programs" not in model.SerializeToString()
    assert not any(node.doc_string or node.metadata_props for node in model.graph.node)
