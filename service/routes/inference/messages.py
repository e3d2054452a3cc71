"""The messages of an inference: a request and an answer, each JSON and the binary data that follow it."""

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
import numpy as np

from kilter.service.detector import Detector, Reason, Schema, Verdicts
from kilter.service.formats.json_body import decode_json
from kilter.service.problems import BAD_BODY, RequestError
from kilter.service.routes.inference.tensors import DATATYPES, SHOWN, Array, Input, to_bytes

Parameters = dict[str, Any]
Size = Annotated[int, msgspec.Meta(ge=0)]
HEADER = "Inference-Header-Content-Length"
BINARY_SIZE = "binary_data_size"
CONTRIBUTION = "feature_contribution"
OUTPUTS = {"score": "FP64", "p_value": "FP64", "anomaly": "BOOL", CONTRIBUTION: "FP32"}
"""Every output with its datatype; its shape is (n,), that of the contributions (n, columns)."""
DEFAULT_OUTPUTS = ("score", "p_value", "anomaly")
"""The outputs of a request that names none: contributions take much longer than verdicts."""


class InputTensor(msgspec.Struct, frozen=True):
    """An input: its data in JSON, flat or nested by its shape, or as many bytes after it as `binary_data_size` says."""

    name: str
    shape: Annotated[list[Size], msgspec.Meta(min_length=1, max_length=4)]
    datatype: str
    parameters: Parameters | None = None
    data: list[Any] | msgspec.UnsetType = msgspec.UNSET


class RequestedOutput(msgspec.Struct, frozen=True):
    """An output that the answer is to have, as bytes if its parameter `binary_data` is true."""

    name: str
    parameters: Parameters | None = None


class InferRequest(msgspec.Struct, frozen=True):
    """The JSON of a request; other fields are ignored."""

    inputs: Annotated[list[InputTensor], msgspec.Meta(min_length=1)]
    id: str | None = None
    outputs: list[RequestedOutput] | None = None
    parameters: Parameters | None = None


class OutputTensor(msgspec.Struct, frozen=True, omit_defaults=True):
    """An output: its data in JSON, flat, or as many bytes after it as `binary_data_size` says."""

    name: str
    datatype: str
    shape: list[int]
    parameters: Parameters | msgspec.UnsetType = msgspec.UNSET
    data: list[Any] | msgspec.UnsetType = msgspec.UNSET


class DecisionRule(msgspec.Struct, frozen=True):
    """The threshold of the flags, on the scale of the score, and the false-positive rate that it was set for."""

    threshold: float
    target_fpr: float


class InferResponse(msgspec.Struct, frozen=True, omit_defaults=True):
    """The JSON of an answer."""

    model_name: str
    model_version: str
    outputs: list[OutputTensor]
    parameters: DecisionRule
    id: str | msgspec.UnsetType = msgspec.UNSET


def parse_inference(content: bytes, stated: bytes | None, rows: int) -> tuple[InferRequest, list[Input]]:
    """Parse a body whose JSON is as long as the header `stated` says, or all of it without one.

    Raises RequestError if it is no request, or has more lists than `rows` of a matrix would make.
    """
    length = _json_length(stated, len(content))
    if not content:
        raise RequestError(BAD_BODY, "the body is empty: send an inference request as JSON")
    try:
        request = msgspec.convert(decode_json(content[:length], rows), InferRequest)
    except msgspec.ValidationError as error:
        raise RequestError(BAD_BODY, f"the request does not follow the protocol: {error}") from None
    rest = memoryview(content)[length:]
    inputs: list[Input] = []
    for tensor in request.inputs:
        parsed, rest = _parse_input(tensor, rest)
        inputs.append(parsed)
    if len(rest):
        raise RequestError(BAD_BODY, f"{len(rest)} bytes follow those that {BINARY_SIZE} of the inputs account for")
    if len({tensor.name for tensor in inputs}) < len(inputs):
        raise RequestError(BAD_BODY, "an input is there twice: send each once")
    return request, inputs


def _json_length(stated: bytes | None, length: int) -> int:
    if stated is None:
        return length
    stated = stated.strip()
    if not (stated.isdigit() and len(stated) < 20 and 0 < int(stated) <= length):
        text = f"it is the length of the JSON with which the body of {length} bytes begins"
        raise RequestError(BAD_BODY, f"the header {HEADER} is {str(stated[:40], 'latin-1')!r}: {text}")
    return int(stated)


def _parse_input(tensor: InputTensor, rest: memoryview) -> tuple[Input, memoryview]:
    """The input, and the bytes that are left. Raises RequestError if its data are not where it says."""
    parsed = Input(tensor.name, tensor.datatype, tuple(tensor.shape), tensor.data)
    place, parameters = parsed.place, tensor.parameters or {}
    if tensor.datatype not in DATATYPES:
        text = f"has the datatype {tensor.datatype[:40]!r}: there are {', '.join(DATATYPES)}"
        raise RequestError(BAD_BODY, f"{place} {text}")
    _refuse_shared_memory(place, parameters)
    size = parameters.get(BINARY_SIZE)
    if size is None:
        if tensor.data is msgspec.UNSET:
            raise RequestError(BAD_BODY, f"{place} has no data: send them in JSON, or as bytes with {BINARY_SIZE}")
        return parsed, rest
    if tensor.data is not msgspec.UNSET:
        raise RequestError(BAD_BODY, f"{place} has both data and {BINARY_SIZE}: send one of them")
    if type(size) is not int or not 0 <= size <= len(rest):
        shown = repr(size)[:40]
        raise RequestError(
            BAD_BODY,
            f"{place} has {BINARY_SIZE} {shown}, and {len(rest)} bytes are left after the JSON and the inputs before; "
            f"the header {HEADER} says where the JSON ends",
        )
    return parsed._replace(data=rest[:size]), rest[size:]


def _refuse_shared_memory(place: str, parameters: Parameters) -> None:
    if "shared_memory_region" in parameters:
        raise RequestError(BAD_BODY, f"{place} is in shared memory, which is not supported: send it in the body")


def outputs_of(schema: Schema) -> dict[str, str]:
    """The outputs of a model with their datatypes: a record that is an array has no columns that contribute."""
    array = bool(schema.columns[0].shape)
    return {name: datatype for name, datatype in OUTPUTS.items() if not (array and name == CONTRIBUTION)}


class OutputSelection:
    """The outputs that a request names, and which of them are sent as bytes. Raises RequestError if one is unknown."""

    def __init__(self, request: InferRequest, schema: Schema) -> None:
        self.id = request.id
        self.binary: dict[str, bool] = {}
        all_binary, known = _flag(request.parameters, "binary_data_output", False, "the request"), outputs_of(schema)
        requested = request.outputs or [RequestedOutput(name) for name in DEFAULT_OUTPUTS]
        for output in requested:
            place, parameters = f"output {output.name[:SHOWN]!r}", output.parameters or {}
            if output.name not in known:
                raise RequestError(BAD_BODY, f"there is no {place}: the outputs are {', '.join(known)}")
            _refuse_shared_memory(place, parameters)
            if parameters.get("classification"):
                raise RequestError(BAD_BODY, f"{place} is no classification: leave the parameter out")
            self.binary[output.name] = _flag(parameters, "binary_data", all_binary, place)
        if len(self.binary) < len(requested):
            raise RequestError(BAD_BODY, "an output is asked for twice: name each once")
        self.reasons = len(schema.columns) if CONTRIBUTION in self.binary else 0
        """How many reasons the outputs need for each record."""


def _flag(parameters: Parameters | None, name: str, default: bool, place: str) -> bool:
    value = (parameters or {}).get(name, default)
    if not isinstance(value, bool):
        raise RequestError(BAD_BODY, f"the parameter {name} of {place} is true or false")
    return value


def write_answer(detector: Detector, judged: Sequence[Verdicts], wanted: OutputSelection) -> tuple[bytes, int | None]:
    """The body of the answer, and the length of its JSON if bytes follow it."""
    outputs: list[OutputTensor] = []
    parts: list[bytes] = []
    for name, binary in wanted.binary.items():
        if name == CONTRIBUTION:
            array = _contributions(detector, judged)
        else:
            array = np.concatenate([getattr(verdicts, name) for verdicts in judged])
        datatype, shape = OUTPUTS[name], list(array.shape)
        if binary:
            parts.append(to_bytes(datatype, array))
            outputs.append(OutputTensor(name, datatype, shape, {BINARY_SIZE: len(parts[-1])}))
        else:
            outputs.append(OutputTensor(name, datatype, shape, data=array.ravel().tolist()))
    rule = DecisionRule(detector.calibration.threshold, detector.calibration.target_fpr)
    echoed = msgspec.UNSET if wanted.id is None else wanted.id
    head = msgspec.json.encode(InferResponse(detector.name, str(detector.version), outputs, rule, echoed))
    return (b"".join([head, *parts]), len(head)) if parts else (head, None)


def _contributions(detector: Detector, judged: Sequence[Verdicts]) -> Array:
    """Each column's share of what speaks against each record, (n, columns); 0 where it does not."""
    places = {name: i for i, name in enumerate(detector.schema.names)}
    shares = np.zeros((sum(len(verdicts.score) for verdicts in judged), len(places)))
    rows = (reasons for verdicts in judged for reasons in verdicts.reasons or ())
    for row, reasons in enumerate(rows):
        for reason in reasons:
            if isinstance(reason, Reason):
                shares[row, places[reason.feature]] = reason.share
    return shares
