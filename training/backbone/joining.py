"""Exports a program with its backbone: what comes before it, the backbone as it was given, and what comes after."""

import onnx
import onnx.compose
import onnx.version_converter
import torch

from kilter.service.detector.artifact import Programs
from kilter.service.detector.errors import KilterError
from kilter.service.detector.runtime import OUTPUTS
from kilter.training.backbone.program import Prepared, ScoredFeatures
from kilter.training.backbone.reading import STANDARD_DOMAINS, Backbone
from kilter.training.export import extracted, traced


def export_joined(program: ScoredFeatures, backbone: Backbone, width: int) -> Programs:
    """The ONNX programs of encoded pictures of that width.

    Raises KilterError if the backbone is of a version of ONNX's operators that cannot be joined to others.
    """
    x, features = torch.zeros(2, width), torch.zeros(2, *program.shape.backbone.features)
    first = traced(Prepared(program.network, backbone.channels), {"x": x}, ("pictures", "same"))
    last = traced(program, {"given": x, "features": features}, OUTPUTS)
    first, middle, last = _of_one_version([first, backbone.model, last], backbone.file)
    first = onnx.compose.add_prefix(first, "before/", rename_inputs=False)
    middle = onnx.compose.add_prefix(middle, "backbone/")
    takes, gives = middle.graph.input[0].name, middle.graph.output[0].name
    joined = onnx.compose.merge_models(first, middle, [("before/pictures", takes)], outputs=["before/same", gives])
    return extracted(onnx.compose.merge_models(joined, last, [("before/same", "given"), (gives, "features")]))


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
