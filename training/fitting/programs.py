"""ONNX programs: a network and its score are exported, with a backbone, a pretrained network, read from a file."""

import hashlib
import io
import logging
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import onnx
import onnx.checker
import onnx.compose
import onnx.inliner
import onnx.utils
import onnx.version_converter
import onnxruntime as ort
import torch
from torch import Tensor, nn

from kilter.service.detector.arrays import Matrix
from kilter.service.detector.errors import KilterError
from kilter.service.detector.manifest import BackboneEntry
from kilter.service.detector.runtime import INPUTS, PROGRAMS
from kilter.service.detector.scores.backbone import BackboneInput
from kilter.service.detector.scores.base import AnomalyScore, ScoredNetwork
from kilter.training.data.source import TrainingSource
from kilter.training.data.survey import SIDES

MOST_BYTES = 256 << 20
TRIED = 3  # pictures of noise on which a backbone is tried
SAME = 1e-3  # features of a picture alone and among others may differ by this, in units of the largest
STANDARD_DOMAINS = ("", "ai.onnx")
ACCEPTED = (
    "a backbone is an ONNX file with one float32 input (batch, 3 or 1, height, width), the batch of any size, and a "
    "first float32 output (batch, channels, rows, columns)"
)


@dataclass(frozen=True)
class Backbone:
    """A frozen network that gives a map of local features of pictures."""

    file: str  # the name of its file
    sha256: str
    model: onnx.ModelProto
    session: ort.InferenceSession
    channels: Literal[1, 3]
    size: tuple[int, int] | None  # height and width of the pictures that it takes; None if it takes any

    @property
    def entry(self) -> BackboneEntry:
        return BackboneEntry(self.file, self.sha256)

    @property
    def note(self) -> str:
        """A note on a model that it is part of."""
        return (
            f"A pretrained network is part of this model, as it was given: {self.file}, SHA-256 {self.sha256}. Whether "
            "its licence allows what the model is to be used for is for its user to know."
        )

    def sized(self, source: TrainingSource) -> TrainingSource:
        """The source with the pictures' size that it takes. Raises KilterError if another was asked for."""
        if self.size is None:
            return source
        if source.image_size is not None and source.image_size != self.size:
            wanted, takes = (f"{height}x{width}" for height, width in (source.image_size, self.size))
            raise KilterError(
                f"--image-size {wanted}: {self.file} takes pictures of {takes} only: leave the option out"
            )
        return replace(source, image_size=self.size)

    def features(self, pictures: Matrix) -> Matrix:
        """The features of pictures (n, channels, height, width): (n, features, rows, columns).

        Raises KilterError if there are none, or they are not what is accepted.
        """
        takes, gives = self.model.graph.input[0].name, self.model.graph.output[0].name
        try:
            output: Any = self.session.run([gives], {takes: pictures})[0]
        except Exception as error:  # ONNX Runtime's own exceptions have no common base that it exports
            shape = " x ".join(map(str, pictures.shape))
            raise KilterError(f"{self.file} cannot be run on pictures {shape}: {error}; {ACCEPTED}") from None
        if output.dtype != np.float32 or output.ndim != 4 or len(output) != len(pictures) or min(output.shape[2:]) < 2:
            raise KilterError(
                f"the first output of {self.file} is {output.dtype} {output.shape} for {len(pictures)} pictures: "
                f"{ACCEPTED}, of at least 2 rows and columns; take the output of a layer before the last pooling"
            )
        if not np.isfinite(output).all():
            raise KilterError(f"{self.file} gives values that are not finite")
        return cast("Matrix", output)

    def shape(self, height: int, width: int) -> tuple[int, int, int]:
        """Features, rows and columns of a picture of a size, as tried on noise.

        Raises KilterError if a picture's features depend on the other pictures, or are not what is accepted.
        """
        noise = np.random.default_rng(0).standard_normal((TRIED, self.channels, height, width)).astype(np.float32)
        together = self.features(noise)
        alone = np.concatenate([self.features(noise[i : i + 1]) for i in range(TRIED)])
        if np.abs(together - alone).max() > SAME * max(float(np.abs(alone).max()), 1e-6):
            raise KilterError(
                f"{self.file} gives a picture other features among others than alone: export it in evaluation mode"
            )
        return together.shape[1], together.shape[2], together.shape[3]


def read_backbone(path: Path) -> Backbone:
    """The backbone of a file. Raises KilterError that says what is wrong with it, and what is accepted."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise KilterError(
                f"{path} is of {path.stat().st_size / 2**20:,.0f} MB, and a backbone of at most "
                f"{MOST_BYTES >> 20} MB is taken: leave out the layers after the one whose features are wanted"
            )
        content = path.read_bytes()
    except OSError as error:
        raise KilterError(f"{path} cannot be read: {error.strerror}; {ACCEPTED}") from None
    model = _model(path, content)
    channels, size = _input(path, model)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    try:
        session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's own exceptions have no common base that it exports
        raise KilterError(f"ONNX Runtime cannot load {path}: {error}; {ACCEPTED}") from None
    return Backbone(path.name, hashlib.sha256(content).hexdigest(), model, session, channels, size)


def _model(path: Path, content: bytes) -> onnx.ModelProto:
    """The checked model, all of it in operators that every ONNX Runtime has."""
    try:
        model = onnx.load_model_from_string(content)
    except Exception:  # protobuf's own exceptions differ with its implementation
        raise KilterError(f"{path} is no ONNX file: {ACCEPTED}") from None
    weights = [tensor for graph in _graphs(model.graph) for tensor in graph.initializer]
    constants = [attribute.t for graph in _graphs(model.graph) for node in graph.node for attribute in node.attribute]
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in (*weights, *constants)):
        raise KilterError(
            f"{path} keeps its weights in another file: put them into it, as onnx.save(onnx.load(path), other) or "
            "torch.onnx.export(..., external_data=False) do"
        )
    try:
        onnx.checker.check_model(model)
        model = onnx.inliner.inline_local_functions(model)
    except (onnx.checker.ValidationError, RuntimeError, ValueError) as error:
        raise KilterError(f"{path} is no valid ONNX model: {error}; {ACCEPTED}") from None
    custom = sorted({node.domain for graph in _graphs(model.graph) for node in graph.node} - set(STANDARD_DOMAINS))
    if custom:
        raise KilterError(
            f"{path} uses operators of {custom[0]}: only the standard ones of ONNX are taken, so that the model runs "
            "wherever Kilter does"
        )
    names = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in names]  # old files list weights, too
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    standard = [item for item in model.opset_import if item.domain in STANDARD_DOMAINS]
    del model.opset_import[:]
    model.opset_import.extend(standard)
    return model


def _input(path: Path, model: onnx.ModelProto) -> tuple[Literal[1, 3], tuple[int, int] | None]:
    """Channels, and height and width where they are fixed, of the pictures that a model takes."""
    if len(model.graph.input) != 1 or not model.graph.output:
        raise KilterError(f"{path} has {len(model.graph.input)} inputs: {ACCEPTED}")
    tensor = model.graph.input[0].type.tensor_type
    dims = [dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim]
    shown = ", ".join("any" if dim is None else str(dim) for dim in dims)
    if tensor.elem_type != onnx.TensorProto.FLOAT or len(dims) != 4 or dims[1] not in (1, 3):
        kind = onnx.TensorProto.DataType.Name(tensor.elem_type).lower()
        raise KilterError(f"{path} takes {kind} ({shown}): {ACCEPTED}")
    batch, channels, height, width = dims
    if batch is not None:
        raise KilterError(
            f"{path} takes {batch} pictures at a time, and a model judges any number: export it with a dynamic batch, "
            "as torch.onnx.export(..., dynamic_axes={name: {0: 'batch'}}) or dynamic_shapes do"
        )
    if (height is None) != (width is None):
        raise KilterError(f"{path} takes ({shown}): height and width are both fixed, or neither is")
    size = None if height is None or width is None else (height, width)
    if size is not None and not all(SIDES[0] <= side <= SIDES[1] for side in size):
        raise KilterError(
            f"{path} takes pictures of {height} x {width}, and those of a model are from {SIDES[0]} to {SIDES[1]} "
            "pixels high and wide: export it for such, or for any size"
        )
    return 1 if channels == 1 else 3, size


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """A graph and those within it."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _graphs(inner)


class AllOutputs(nn.Module):
    """The outputs of all programs at once, so that a network is traced once."""

    def __init__(self, program: ScoredNetwork) -> None:
        super().__init__()
        self.program = program

    def forward(self, x: Tensor, codes: Tensor, other: Tensor | None = None) -> tuple[Tensor, ...]:
        """For encoded records, (n, features), and other codes with their noise; `other` as of `ScoredNetwork`."""
        network, score = self.program.network, self.program.score
        view = network.see(x)
        points = (score.point(network, x, view),) if score.has_points else ()
        code = network.code_of(x, view.posterior)
        return (*self.program.judge(x, view, other), code, *network.decoded_rows(codes), *points)


def export(program: ScoredNetwork, width: int, backbone: Backbone | None = None) -> dict[str, bytes]:
    """The ONNX programs of a network and its score, by name, over encoded records of a width.

    A backbone stands between what comes before it and what comes after. Raises KilterError if it is of a version of
    ONNX's operators that cannot be joined to others.
    """
    network, programs = program.network, programs_of(program.score)
    outputs = [output for names in programs.values() for output in names]
    x = torch.zeros(2, width)  # two rows, since a size of one would be taken for fixed
    codes = torch.zeros(3, network.code_size + network.noise_size)  # three, since two would be taken for those of x
    if backbone is None:
        return _extract(trace(AllOutputs(program), {"x": x, "codes": codes}, outputs), programs)
    prepared = BackboneInput(network, backbone.channels)
    with torch.no_grad():
        pictures, _ = prepared(x)
    first = trace(prepared, {"x": x}, ("pictures", "same"))
    features = torch.from_numpy(backbone.features(pictures.numpy()))
    last = trace(AllOutputs(program), {"given": x, "codes": codes, "features": torch.zeros_like(features)}, outputs)
    first, middle, last = _unify_versions([first, backbone.model, last], backbone.file)
    first = onnx.compose.add_prefix(first, "before/", rename_inputs=False)
    middle = onnx.compose.add_prefix(middle, "backbone/")
    takes, gives = middle.graph.input[0].name, middle.graph.output[0].name
    joined = onnx.compose.merge_models(first, middle, [("before/pictures", takes)], outputs=["before/same", gives])
    whole = onnx.compose.merge_models(joined, last, [("before/same", "given"), (gives, "features")])
    return _extract(whole, programs)


def programs_of(score: AnomalyScore) -> dict[str, tuple[str, ...]]:
    """The programs that an artifact with a score has, with their outputs."""
    return {name: outputs for name, outputs in PROGRAMS.items() if name != "place" or score.has_points}


def trace(
    module: nn.Module, example: Mapping[str, Tensor], outputs: Sequence[str], fixed: Collection[str] = ()
) -> onnx.ModelProto:
    """A module as ONNX, of inputs by name, whose first size is any if not `fixed`, and with outputs of those names."""
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()), torch.no_grad():
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        logging.getLogger("onnxscript").setLevel(logging.ERROR)
        program = torch.onnx.export(
            module.eval(),
            tuple(example.values()),
            dynamo=True,
            dynamic_shapes=tuple(None if name in fixed else {0: torch.export.Dim.DYNAMIC} for name in example),
            input_names=list(example),
            output_names=list(outputs),
            verbose=False,
        )
    assert program is not None  # noqa: S101 (it is None only without dynamo)
    model: onnx.ModelProto = program.model_proto
    # What the exporter notes about the source is most of a small program, and holds paths.
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer, *graph.value_info):
        part.ClearField("doc_string")
        part.ClearField("metadata_props")
    graph.ClearField("value_info")
    return model


def _extract(model: onnx.ModelProto, programs: Mapping[str, Sequence[str]]) -> dict[str, bytes]:
    """The programs of a model that gives all outputs."""
    extract = onnx.utils.Extractor(model).extract_model
    return {
        name: extract([INPUTS.get(name, "x")], list(outputs)).SerializeToString() for name, outputs in programs.items()
    }


def _unify_versions(models: list[onnx.ModelProto], file: str) -> list[onnx.ModelProto]:
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
