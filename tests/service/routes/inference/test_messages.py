"""An inference request is parsed to its inputs and outputs; an answer holds the verdicts in the form that it names."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilter.service.problems import RequestError
from kilter.service.routes.inference.messages import (
    CONTRIBUTION,
    DEFAULT_OUTPUTS,
    OUTPUTS,
    InferRequest,
    OutputSelection,
    RequestedOutput,
    outputs_of,
    parse_inference,
    write_answer,
)
from tests.support.picture_model import picture_detector
from tests.support.protocol_client import outputs
from tests.support.serving import RECORD, SCHEMA, STRANGE, detector

Json = dict[str, Any]


def body(*inputs: Json, data: bytes = b"", **fields: Any) -> tuple[bytes, bytes | None]:
    """A request, and the length of its JSON."""
    head = json.dumps({"inputs": inputs, **fields}).encode()
    return head + data, str(len(head)).encode() if data else None


def described(name: str, size: int | None = None, **fields: Any) -> Json:
    """A tensor of one byte, or of bytes that follow the JSON."""
    parameters = {} if size is None else {"parameters": {"binary_data_size": size}}
    return {"name": name, "datatype": "UINT8", "shape": [1 if size is None else size], **parameters, **fields}


@given(st.lists(st.binary(max_size=5) | st.integers(0, 255), min_size=1, max_size=5))
def test_each_input_gets_its_own_data(values: list[bytes | int]) -> None:
    """The bytes after the JSON are those of the inputs in their order; the others have theirs in the JSON."""
    inputs = [
        described(f"x{i}", data=[value]) if isinstance(value, int) else described(f"x{i}", len(value))
        for i, value in enumerate(values)
    ]
    content, length = body(*inputs, data=b"".join(value for value in values if isinstance(value, bytes)))
    _, parsed = parse_inference(content, length, 10)
    assert [tensor.name for tensor in parsed] == [f"x{i}" for i in range(len(values))]
    for tensor, value in zip(parsed, values, strict=True):
        assert tensor.array().tolist() == ([value] if isinstance(value, int) else list(value))


@pytest.mark.parametrize(
    ("content", "stated", "text"),
    [
        (b"", None, "the body is empty"),
        (b"{}", b"3", "is '3': it is the length of the JSON with which the body of 2 bytes begins"),
        (b"{}", b"+1", "is '+1'"),
        (b"{}", b"", "is ''"),
        (b"{}", b"\xb2", "is '²'"),
        (b'{"inputs": []}', None, "the request does not follow the protocol"),
        (*body(described("x", 2), data=b"1"), "input 'x' has binary_data_size 2, and 1 bytes are left"),
        (*body(described("x", 0, shape=[0]), data=b"12"), "2 bytes follow those that binary_data_size"),
        (*body(described("x", True, shape=[1]), data=b"1"), "binary_data_size True"),
        (*body(described("x", 1, data=[1]), data=b"1"), "both data and binary_data_size"),
        (*body(described("x")), "input 'x' has no data"),
        (*body(described("x", data=[1]), described("x", data=[1])), "an input is there twice"),
        (
            *body(described("x" * 500, data=[1], datatype="Y" * 500)),
            f"input '{'x' * 100}' has the datatype '{'Y' * 40}'",
        ),
    ],
)
def test_what_is_no_request_is_refused(content: bytes, stated: bytes | None, text: str) -> None:
    """With the place, and what is expected there."""
    with pytest.raises(RequestError) as caught:
        parse_inference(content, stated, 10)
    assert text in caught.value.detail
    assert caught.value.kind.status == 400


def selection(*names: str, binary: bool = False, **parameters: Any) -> OutputSelection:
    """What a request for some outputs selects."""
    requested = [RequestedOutput(name, parameters) for name in names]
    return OutputSelection(InferRequest([], "7", requested or None, {"binary_data_output": binary}), SCHEMA)


def test_outputs_are_selected_in_their_order() -> None:
    """Those of a request that names none are the verdict; what one says of itself goes before what all are."""
    assert tuple(selection().binary) == DEFAULT_OUTPUTS
    assert selection("p_value", "score").binary == {"p_value": False, "score": False}
    assert selection("score", binary=True).binary == {"score": True}
    assert selection("score", binary=True, binary_data=False).binary == {"score": False}
    assert (selection("score").reasons, selection(CONTRIBUTION).reasons) == (0, len(SCHEMA.columns))


@pytest.mark.parametrize(
    ("names", "parameters", "text"),
    [
        (["x"], {}, "there is no output 'x': the outputs are score, p_value, anomaly, feature_contribution"),
        (["score", "score"], {}, "asked for twice"),
        (["score"], {"binary_data": 1}, "the parameter binary_data of output 'score' is true or false"),
        (["score"], {"classification": 2}, "no classification"),
        (["score"], {"shared_memory_region": "r"}, "shared memory"),
    ],
)
def test_outputs_that_there_are_not_are_refused(names: list[str], parameters: Json, text: str) -> None:
    """With those that there are, or what is wrong with a parameter."""
    with pytest.raises(RequestError, match=text):
        selection(*names, **parameters)


def test_a_model_of_pictures_has_no_columns_that_contribute() -> None:
    """All other outputs are the same."""
    assert outputs_of(SCHEMA) == OUTPUTS
    assert outputs_of(picture_detector().schema).keys() == OUTPUTS.keys() - {CONTRIBUTION}


@pytest.mark.parametrize("binary", [False, True])
def test_an_answer_holds_consecutive_verdicts(binary: bool) -> None:
    """Of all pieces in their order, in JSON or as bytes, with what the flags were decided by."""
    model = detector()
    pieces = [model.score([RECORD], reasons=5), model.score([STRANGE, RECORD], reasons=5)]
    content, length = write_answer(model, pieces, selection(*OUTPUTS, binary=binary))
    assert (length is not None) == binary
    arrays = outputs(content, None if length is None else str(length))
    whole = model.score([RECORD, STRANGE, RECORD])
    for name in DEFAULT_OUTPUTS:
        np.testing.assert_array_equal(np.ravel(arrays[name]), getattr(whole, name))
    assert np.reshape(arrays[CONTRIBUTION], (3, 5))[1].argmax() == 0
    head = json.loads(content[:length])
    assert (head["id"], head["model_name"], head["model_version"]) == ("7", "shop", "3")
    assert head["parameters"] == {"threshold": model.calibration.threshold, "target_fpr": 0.05}
