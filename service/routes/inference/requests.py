"""An inference request: its JSON, and the binary data that follow it."""

from typing import Annotated, Any, NamedTuple

import msgspec

from kilter.service.detector import KilterError
from kilter.service.formats.json_body import decode_json
from kilter.service.problems import BAD_BODY, RequestError
from kilter.service.routes.inference import tensors
from kilter.service.routes.inference.tensors import Array

Parameters = dict[str, Any]
Size = Annotated[int, msgspec.Meta(ge=0)]
HEADER = "Inference-Header-Content-Length"
BINARY_SIZE = "binary_data_size"
SHOWN = 100
"""Characters of a name that a message quotes."""


class InputTensor(msgspec.Struct, frozen=True):
    """An input: its data in JSON, flat or nested by its shape, or as many bytes after it as `binary_data_size` says."""

    name: str
    shape: Annotated[list[Size], msgspec.Meta(min_length=1, max_length=4)]
    datatype: str
    parameters: Parameters | None = None
    data: list[Any] | msgspec.UnsetType = msgspec.UNSET


class RequestedOutput(msgspec.Struct, frozen=True):
    """An output that is wanted, as bytes if its parameter `binary_data` is true."""

    name: str
    parameters: Parameters | None = None


class InferRequest(msgspec.Struct, frozen=True):
    """What stands in the JSON of a request; fields beside these are passed over."""

    inputs: Annotated[list[InputTensor], msgspec.Meta(min_length=1)]
    id: str | None = None
    outputs: list[RequestedOutput] | None = None
    parameters: Parameters | None = None


class Input(NamedTuple):
    """An input with its data: bytes, or what JSON gave."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: memoryview | list[Any]

    @property
    def place(self) -> str:
        """How a message names it."""
        return _place(self.name)

    def array(self) -> Array:
        """Its values. Raises RequestError if the data do not fit datatype and shape."""
        try:
            if isinstance(self.data, memoryview):
                return tensors.from_bytes(self.datatype, self.shape, self.data)
            return tensors.from_json(self.datatype, self.shape, self.data)
        except KilterError as error:
            raise RequestError(BAD_BODY, f"{self.place}: {error}") from None


def parse_inference(content: bytes, stated: str, rows: int) -> tuple[InferRequest, list[Input]]:
    """The request in a body whose JSON is as long as the header `stated` says, or all of it.

    Raises RequestError if it is none, or has more lists than `rows` of a matrix would make.
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
        given, rest = _input(tensor, rest)
        inputs.append(given)
    if len(rest):
        raise RequestError(BAD_BODY, f"{len(rest)} bytes follow those that {BINARY_SIZE} of the inputs account for")
    names = [given.name for given in inputs]
    if len(set(names)) < len(names):
        raise RequestError(BAD_BODY, "an input is there twice: send each once")
    return request, inputs


def _json_length(stated: str, length: int) -> int:
    if not stated:
        return length
    if not (stated.isascii() and stated.isdigit() and len(stated) < 20 and 0 < int(stated) <= length):
        raise RequestError(
            BAD_BODY,
            f"the header {HEADER} is {stated[:40]!r}: it is the length of the JSON with which the body of {length} "
            "bytes begins",
        )
    return int(stated)


def _input(tensor: InputTensor, rest: memoryview) -> tuple[Input, memoryview]:
    """The input, and what is left of the bytes. Raises RequestError if it has no data, or not where it says."""
    place = _place(tensor.name)
    parameters = tensor.parameters or {}
    if tensor.datatype not in tensors.DATATYPES:
        known = ", ".join(tensors.DATATYPES)
        raise RequestError(BAD_BODY, f"{place} has the datatype {tensor.datatype[:40]!r}: there are {known}")
    refuse_shared_memory(place, parameters)
    size = parameters.get(BINARY_SIZE)
    shape = tuple(tensor.shape)
    if size is None:
        if tensor.data is msgspec.UNSET:
            raise RequestError(BAD_BODY, f"{place} has no data: send them in JSON, or as bytes with {BINARY_SIZE}")
        return Input(tensor.name, tensor.datatype, shape, tensor.data), rest
    if tensor.data is not msgspec.UNSET:
        raise RequestError(BAD_BODY, f"{place} has both data and {BINARY_SIZE}: send one of them")
    if type(size) is not int or not 0 <= size <= len(rest):
        shown = repr(size)[:40]
        raise RequestError(
            BAD_BODY,
            f"{place} has {BINARY_SIZE} {shown}, and {len(rest)} bytes are left after the JSON and the inputs before; "
            f"the header {HEADER} says where the JSON ends",
        )
    return Input(tensor.name, tensor.datatype, shape, rest[:size]), rest[size:]


def _place(name: str) -> str:
    return f"input {name[:SHOWN]!r}"


def refuse_shared_memory(place: str, parameters: Parameters) -> None:
    """Raise RequestError if a tensor is said to be in shared memory."""
    if "shared_memory_region" in parameters:
        raise RequestError(BAD_BODY, f"{place} is in shared memory, which is not supported: send it in the body")
