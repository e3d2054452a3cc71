"""Exports a network and its score as the ONNX programs that serve."""

import io
import logging
import warnings
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout

import onnx.utils
import torch
from torch import Tensor, nn

from kilter.service.detector.artifact import Programs
from kilter.service.detector.runtime import DETAIL, OUTPUTS, SCORE


def export(module: nn.Module, features: int) -> Programs:
    """The ONNX programs of a module that maps float32 (n, features) to their outputs."""
    # Two rows, since a size of one would be taken for fixed.
    return extracted(traced(module, {"x": torch.zeros(2, features)}, OUTPUTS))


def traced(module: nn.Module, example: Mapping[str, Tensor], outputs: Sequence[str]) -> onnx.ModelProto:
    """A module as ONNX, of inputs by name, whose first size is any, and with outputs of those names."""
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        logging.getLogger("onnxscript").setLevel(logging.ERROR)
        program = torch.onnx.export(
            module.eval(),
            tuple(example.values()),
            dynamo=True,
            dynamic_shapes=tuple({0: torch.export.Dim.DYNAMIC} for _ in example),
            input_names=list(example),
            output_names=list(outputs),
            verbose=False,
        )
    assert program is not None  # noqa: S101 (it is None only without dynamo)
    model: onnx.ModelProto = program.model_proto
    _strip(model)
    return model


def extracted(model: onnx.ModelProto) -> Programs:
    """The two programs of a model that gives all outputs."""
    extract = onnx.utils.Extractor(model).extract_model
    return Programs(*(extract(["x"], list(names)).SerializeToString() for names in (SCORE, DETAIL)))


def _strip(model: onnx.ModelProto) -> None:
    """Take out what the exporter notes about the source: it is most of a small program, and holds paths."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer, *graph.value_info):
        part.ClearField("doc_string")
        part.ClearField("metadata_props")
    graph.ClearField("value_info")
