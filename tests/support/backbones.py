"""Networks as a user may have them, as ONNX files."""

import contextlib
import io
import logging
import warnings
from pathlib import Path

import onnx
import onnx.parser
import torch
from torch import nn

FILTERS = 24


def convolutions(channels: int) -> nn.Sequential:
    """Random convolutions, of stride 4 in all."""
    torch.manual_seed(5)
    first = (nn.Conv2d(channels, 12, 3, 2, 1), nn.BatchNorm2d(12), nn.ReLU())
    return nn.Sequential(*first, nn.Conv2d(12, FILTERS, 3, 2, 1), nn.ReLU()).eval()


def write_backbone(path: Path, channels: int = 3, size: tuple[int, int] | None = None) -> Path:
    """Export random convolutions over pictures of a size, or of any, in batches of any size."""
    height, width = size or (32, 32)
    dynamic = torch.export.Dim.DYNAMIC
    shape = {0: dynamic} if size else {0: dynamic, 2: dynamic, 3: dynamic}
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            convolutions(channels),
            (torch.zeros(2, channels, height, width),),
            dynamo=True,
            dynamic_shapes=(shape,),
            input_names=["x"],  # as the program's own input is called
            output_names=["score"],
            verbose=False,
        )
    assert program is not None
    onnx.save(program.model_proto, path)
    return path


def write_graph(path: Path, text: str, domains: str = '"": 17', version: int = 8) -> Path:
    """Write a model given in ONNX's text form, without its head."""
    model = onnx.parser.parse_model(f"<ir_version: {version}, opset_import: [{domains}]> {text}")
    onnx.save(model, path)
    return path
