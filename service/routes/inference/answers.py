"""The verdicts of a request as output tensors."""

from collections.abc import Collection, Sequence
from typing import Any

import msgspec
import numpy as np

from kilter.service.detector import Detector, Reason, Schema, Verdicts
from kilter.service.problems import BAD_BODY, RequestError
from kilter.service.routes.inference.requests import (
    BINARY_SIZE,
    InferRequest,
    Parameters,
    RequestedOutput,
    refuse_shared_memory,
)
from kilter.service.routes.inference.tensors import Array, to_bytes

CONTRIBUTION = "feature_contribution"
OUTPUTS = {"score": "FP64", "p_value": "FP64", "anomaly": "BOOL", CONTRIBUTION: "FP32"}
"""Every output with its datatype, (n,) but for the contribution of each column, (n, columns)."""
DEFAULT = ("score", "p_value", "anomaly")
"""What is given where nothing is asked for: contributions take much longer than verdicts."""


def outputs_of(schema: Schema) -> dict[str, str]:
    """The outputs that there are for a model's records: one that is an array has no columns that contribute."""
    whole = bool(schema.columns[0].shape)
    return {name: kind for name, kind in OUTPUTS.items() if not (whole and name == CONTRIBUTION)}


class OutputTensor(msgspec.Struct, frozen=True, omit_defaults=True):
    """An output: its data in JSON, flat, or as many bytes after it as `binary_data_size` says."""

    name: str
    datatype: str
    shape: list[int]
    parameters: Parameters | msgspec.UnsetType = msgspec.UNSET
    data: list[Any] | msgspec.UnsetType = msgspec.UNSET


class DecisionRule(msgspec.Struct, frozen=True):
    """What the flags were decided by: the threshold on the scale of the score, and the rate that it was set for."""

    threshold: float
    target_fpr: float


class InferResponse(msgspec.Struct, frozen=True, omit_defaults=True):
    """The JSON of an answer."""

    model_name: str
    model_version: str
    outputs: list[OutputTensor]
    parameters: DecisionRule
    id: str | msgspec.UnsetType = msgspec.UNSET


class OutputSelection:
    """The outputs that a request asks for, and which of them as bytes. Raises RequestError for what there is not."""

    def __init__(self, request: InferRequest, schema: Schema) -> None:
        everywhere = _flag(request.parameters or {}, "binary_data_output", False, "the request")
        requested = request.outputs or [RequestedOutput(name) for name in DEFAULT]
        self.binary = {output.name: _binary(output, everywhere, outputs_of(schema)) for output in requested}
        if len(self.binary) < len(requested):
            raise RequestError(BAD_BODY, "an output is asked for twice: name each once")
        self.id = request.id

    def reasons(self, detector: Detector) -> int:
        """How many reasons the outputs need."""
        return len(detector.schema.columns) if CONTRIBUTION in self.binary else 0


def _binary(output: RequestedOutput, everywhere: bool, known: Collection[str]) -> bool:
    place = f"output {output.name[:100]!r}"
    if output.name not in known:
        raise RequestError(BAD_BODY, f"there is no {place}: the outputs are {', '.join(known)}")
    parameters = output.parameters or {}
    refuse_shared_memory(place, parameters)
    if parameters.get("classification"):
        raise RequestError(BAD_BODY, f"{place} is no classification: leave the parameter out")
    return _flag(parameters, "binary_data", everywhere, place)


def _flag(parameters: Parameters, name: str, default: bool, place: str) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise RequestError(BAD_BODY, f"the parameter {name} of {place} is true or false")
    return value


def write_answer(detector: Detector, judged: Sequence[Verdicts], wanted: OutputSelection) -> tuple[bytes, int | None]:
    """The body of the answer, and how long its JSON is if bytes follow it."""
    described: list[OutputTensor] = []
    parts: list[bytes] = []
    for name, binary in wanted.binary.items():
        array = _output(detector, judged, name)
        datatype, shape = OUTPUTS[name], list(array.shape)
        if binary:
            parts.append(to_bytes(datatype, array))
            described.append(OutputTensor(name, datatype, shape, {BINARY_SIZE: len(parts[-1])}))
        else:
            described.append(OutputTensor(name, datatype, shape, data=array.ravel().tolist()))
    rule = DecisionRule(detector.calibration.threshold, detector.calibration.target_fpr)
    echoed = msgspec.UNSET if wanted.id is None else wanted.id
    head = msgspec.json.encode(InferResponse(detector.name, str(detector.version), described, rule, echoed))
    return (b"".join([head, *parts]), len(head)) if parts else (head, None)


def _output(detector: Detector, judged: Sequence[Verdicts], name: str) -> Array:
    match name:
        case "score":
            return np.concatenate([verdicts.score for verdicts in judged])
        case "p_value":
            return np.concatenate([verdicts.p_value for verdicts in judged])
        case "anomaly":
            return np.concatenate([verdicts.anomaly for verdicts in judged])
        case _:
            return _contributions(detector, judged)


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
