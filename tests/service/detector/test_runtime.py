"""Tests of `detector.runtime`: programs under ONNX Runtime, and where they run."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.helper as oh
import pytest
from onnx import TensorProto

from kilter.service.detector import ArtifactError, KilterError, runtime
from kilter.service.detector.arrays import Matrix
from kilter.service.detector.artifact import read_artifact
from kilter.service.detector.runtime import OUTPUTS, PROGRAMS, OnnxProgram, TorchProgram, pick_device

WIDTH = 3


def program(outputs: dict[str, str], name: str = "x", width: int = WIDTH) -> bytes:
    """A program whose outputs are each one operator on its input: a sum over a row, or what is done to each value."""
    nodes = [oh.make_node("Constant", [], ["axes"], value=oh.make_tensor("axes", TensorProto.INT64, [1], [1]))]
    gives = []
    for output, operator in outputs.items():
        rows = operator.startswith("Reduce")
        inputs = [name, "axes"] if operator == "ReduceSum" else [name]
        options: dict[str, Any] = {"keepdims": 0} if rows else {}
        if rows and operator != "ReduceSum":
            inputs = [name, "axes"]
        nodes.append(oh.make_node(operator, inputs, [output], **options))
        gives.append(oh.make_tensor_value_info(output, TensorProto.FLOAT, ["n"] if rows else ["n", width]))
    takes = [oh.make_tensor_value_info(name, TensorProto.FLOAT, ["n", width])]
    model = oh.make_model(oh.make_graph(nodes, "g", takes, gives), opset_imports=[oh.make_opsetid("", 18)])
    model.ir_version = 10
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


SCORE = program({"score": "ReduceSum"})
DETAIL = program({"reconstruction": "ReduceMax", "kl": "ReduceMin", "terms": "Neg", "expected": "Abs"})
BOTH = {"score": SCORE, "detail": DETAIL}


def rows(count: int) -> Matrix:
    """Encoded rows, no two alike."""
    return np.random.default_rng(count).normal(size=(count, WIDTH)).astype(np.float32)


def wanted(x: Matrix) -> dict[str, Any]:
    """What the programs give."""
    return {"score": x.sum(1), "reconstruction": x.max(1), "kl": x.min(1), "terms": -x, "expected": np.abs(x)}


@pytest.mark.parametrize("count", [1, 2, 4, 5, 9])
@pytest.mark.parametrize("outputs", [("score",), OUTPUTS, ("kl", "score"), ("terms",), ("expected", "reconstruction")])
def test_outputs_come_by_name_in_the_order_that_is_wanted(count: int, outputs: tuple[str, ...]) -> None:
    """Whichever program gives them, and however many rows are run at once: float64, row for row."""
    x = rows(count)
    results = OnnxProgram(BOTH, WIDTH, 4).run(x, outputs)
    assert len(results) == len(outputs)
    for name, result in zip(outputs, results, strict=True):
        assert result.dtype == np.float64
        np.testing.assert_allclose(result, wanted(x)[name], rtol=1e-6)


def test_no_rows_give_outputs_of_no_rows() -> None:
    """Of the shapes that others have."""
    results = OnnxProgram(BOTH, WIDTH, 4).run(rows(0), OUTPUTS)
    assert [result.shape for result in results] == [(0,), (0,), (0,), (0, WIDTH), (0, WIDTH)]


def test_a_model_without_detail_scores_and_says_what_it_cannot_do() -> None:
    """Every other program is optional."""
    bare = OnnxProgram({"score": SCORE}, WIDTH, 4)
    assert bare.run(rows(2), ("score",))[0].shape == (2,)
    for outputs in (("terms",), ("score", "kl")):
        with pytest.raises(KilterError, match=r"no program 'detail', .* can neither explain them nor tell the terms"):
            bare.run(rows(2), outputs)


def test_codes_are_decoded_by_a_program_of_another_width() -> None:
    """Which is the decoder's own; a model without one says how to have it."""
    decoder = OnnxProgram(
        {**BOTH, "encode": program({"code": "Neg"}), "decode": program({"decoded": "Abs", "drawn": "Neg"}, "codes", 7)},
        WIDTH,
        4,
    )
    codes = np.random.default_rng(0).normal(size=(9, 7)).astype(np.float32)
    drawn, decoded = decoder.run(codes, ("drawn", "decoded"))
    np.testing.assert_allclose(drawn, -codes, rtol=1e-6)
    np.testing.assert_allclose(decoded, np.abs(codes), rtol=1e-6)
    np.testing.assert_allclose(decoder.run(rows(5), ("code",))[0], -rows(5), rtol=1e-6)
    with pytest.raises(KilterError, match=r"no program 'decode', which gives decoded, drawn: train the model again"):
        OnnxProgram(BOTH, WIDTH, 4).run(codes, ("decoded",))


def test_another_program_is_an_entry_and_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is opened and run by its name like the others."""
    monkeypatch.setattr(runtime, "PROGRAMS", {**PROGRAMS, "other": ("mean",)})
    encoder = OnnxProgram({**BOTH, "other": program({"mean": "ReduceMean"})}, WIDTH, 4)
    x = rows(3)
    mean, score = encoder.run(x, ("mean", "score"))
    np.testing.assert_allclose(mean, x.mean(1), rtol=1e-5)
    np.testing.assert_allclose(score, x.sum(1), rtol=1e-5)


@pytest.mark.parametrize(
    ("programs", "message"),
    [
        ({"score": b"no program"}, "the program cannot be loaded"),
        ({"score": program({"score": "ReduceSum"}, name="rows")}, "the program takes rows"),
        ({"score": program({"score": "ReduceSum"}, width=4)}, r"and gives score, not x \(n, 3\) and score"),
        ({"score": program({"loss": "ReduceSum"})}, r"gives loss, not x \(n, 3\) and score"),
        ({"score": SCORE, "detail": SCORE}, "gives score, not x .* and reconstruction, kl, terms, expected"),
        ({"score": SCORE, "detail": b""}, "the program cannot be loaded"),
        ({"score": SCORE, "encode": DETAIL}, r"gives reconstruction, .*, not x \(n, 3\) and code"),
        ({"score": SCORE, "decode": program({"decoded": "Abs", "drawn": "Neg"})}, "takes x .*, not codes and decoded"),
    ],
)
def test_a_program_that_is_not_what_it_must_be_is_refused_at_once(programs: dict[str, bytes], message: str) -> None:
    """And not when its outputs are wanted."""
    with pytest.raises(ArtifactError, match=message):
        OnnxProgram(programs, WIDTH, 4)


def test_single_rows_are_scored_right_by_many_threads_at_once() -> None:
    """The memory that a session is bound to serves one of them at a time."""
    shared, x = OnnxProgram(BOTH, WIDTH, 4), rows(64)
    right = x.sum(1)
    wrong: list[int] = []

    def work(offset: int) -> None:
        for i in range(offset, 64 * 20, 4):
            row = i % 64
            score = shared.run(x[row : row + 1], ("score",))[0]
            if score.shape != (1,) or abs(score[0] - right[row]) > 1e-5:
                wrong.append(row)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_score_that_was_given_stays_what_it_is() -> None:
    """The next row does not write over it."""
    shared, x = OnnxProgram(BOTH, WIDTH, 4), rows(2)
    first = shared.run(x[:1], ("score",))[0]
    shared.run(x[1:], ("score",))
    assert first[0] == pytest.approx(x[0].sum())


@pytest.mark.parametrize("count", [0, 1, 5])
def test_the_rebuilt_network_gives_the_same_outputs_some_rows_at_a_time(count: int, model_folder: Path) -> None:
    """As the exported programs, for any number of rows."""
    content = read_artifact(model_folder / "1")
    width = content.manifest.schema.width
    exported = OnnxProgram(content.programs, width, 2)
    rebuilt = TorchProgram(content.manifest.network, content.manifest.score, content.state, "cpu", 2)
    x = np.random.default_rng(0).integers(0, 2, (count, width)).astype(np.float32)
    for name, left, right in zip(OUTPUTS, exported.run(x, OUTPUTS), rebuilt.run(x, OUTPUTS), strict=True):
        assert left.shape == right.shape, name
        np.testing.assert_allclose(left, right, rtol=1e-3, atol=1e-3, err_msg=name)


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:x", "CPU", ""])
def test_what_is_no_device_is_refused(device: str) -> None:
    """And those that there are, are named."""
    with pytest.raises(KilterError, match="the device is auto, cpu, cuda or cuda:n"):
        pick_device(device)


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine without a GPU; the path is where the driver of one would show."""
    import torch

    driver = tmp_path / "nvidiactl"
    monkeypatch.setattr(runtime, "DRIVERS", (driver,))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    return driver


def test_without_a_gpu_it_is_the_cpu_unless_another_is_asked_for(no_gpu: Path) -> None:
    """Even where a driver is there and torch finds no GPU."""
    assert pick_device("cpu") == pick_device("auto") == "cpu"
    no_gpu.touch()
    assert pick_device("auto") == "cpu"
    for device in ("cuda", "cuda:1"):
        with pytest.raises(KilterError, match=f"there is no '{device}' here: install the extra 'gpu'"):
            pick_device(device)


def test_with_a_gpu_it_is_that_one(no_gpu: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the one that is asked for; the CPU stays one where it is."""
    import torch

    no_gpu.touch()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert [pick_device(device) for device in ("auto", "cuda", "cuda:1", "cpu")] == ["cuda", "cuda", "cuda:1", "cpu"]
