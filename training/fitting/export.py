"""Exports a network and its score as the ONNX programs that serve, with a backbone if there is one."""

import io
import logging
import warnings
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout

import onnx
import onnx.compose
import onnx.utils
import onnx.version_converter
import torch
from torch import Tensor, nn

from kilter.service.detector.errors import KilterError
from kilter.service.detector.runtime import OUTPUTS, PROGRAMS
from kilter.service.detector.scores.backbone import BackboneInput
from kilter.service.detector.scores.base import ScoredNetwork
from kilter.training.fitting.backbone import STANDARD_DOMAINS, Backbone


def export(program: ScoredNetwork, width: int, backbone: Backbone | None = None) -> dict[str, bytes]:
    """The ONNX programs of a network and its score, by name, over encoded records of a width.

    A backbone stands between what comes before it and what comes after. Raises KilterError if it is of a version of
    ONNX's operators that cannot be joined to others.
    """
    x = torch.zeros(2, width)  # two rows, since a size of one would be taken for fixed
    if backbone is None:
        return _extracted(traced(program, {"x": x}, OUTPUTS))
    prepared = BackboneInput(program.network, backbone.channels)
    with torch.no_grad():
        pictures, _ = prepared(x)
    first = traced(prepared, {"x": x}, ("pictures", "same"))
    features = torch.from_numpy(backbone.features(pictures.numpy()))
    last = traced(program, {"given": x, "features": torch.zeros_like(features)}, OUTPUTS)
    first, middle, last = _of_one_version([first, backbone.model, last], backbone.file)
    first = onnx.compose.add_prefix(first, "before/", rename_inputs=False)
    middle = onnx.compose.add_prefix(middle, "backbone/")
    takes, gives = middle.graph.input[0].name, middle.graph.output[0].name
    joined = onnx.compose.merge_models(first, middle, [("before/pictures", takes)], outputs=["before/same", gives])
    return _extracted(onnx.compose.merge_models(joined, last, [("before/same", "given"), (gives, "features")]))


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


def _extracted(model: onnx.ModelProto) -> dict[str, bytes]:
    """The programs of a model that gives all outputs."""
    extract = onnx.utils.Extractor(model).extract_model
    return {name: extract(["x"], list(outputs)).SerializeToString() for name, outputs in PROGRAMS.items()}


def _strip(model: onnx.ModelProto) -> None:
    """Take out what the exporter notes about the source: it is most of a small program, and holds paths."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer, *graph.value_info):
        part.ClearField("doc_string")
        part.ClearField("metadata_props")
    graph.ClearField("value_info")


def _of_one_version(models: list[onnx.ModelProto], file: str) -> list[onnx.ModelProto]:
    """The models, all in the newest version of the operators that one of them is in."""
    newest = max(map(_version, models))
    try:
        same = [
            model if _version(model) == newest else onnx.version_converter.convert_version(model, newest)
            for model in models
        ]
    except RuntimeError as error:
        versions = f"version {_version(models[1])} of ONNX's operators"
        raise KilterError(
            f"{file} is in {versions} and cannot be joined to a program in version {_version(models[0])}, which is the "
            f"one to export it in: {error}"
        ) from None
    format_version = max(model.ir_version for model in same)
    for model in same:
        model.ir_version = format_version
    return same


def _version(model: onnx.ModelProto) -> int:
    return next(int(item.version) for item in model.opset_import if item.domain in STANDARD_DOMAINS)
