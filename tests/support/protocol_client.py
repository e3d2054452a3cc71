"""Requests of the Open Inference Protocol, written and read by the letter of it, apart from the service's own codec."""

import json
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

CODES = {
    "BOOL": "?",
    "INT8": "b",
    "INT16": "h",
    "INT32": "i",
    "INT64": "q",
    "UINT8": "B",
    "UINT16": "H",
    "UINT32": "I",
    "UINT64": "Q",
    "FP16": "e",
    "FP32": "f",
    "FP64": "d",
}
"""How `struct` calls the datatypes."""


def tensor(name: str, datatype: str, data: Sequence[Any], shape: Sequence[int] | None = None) -> dict[str, Any]:
    """An input whose data are in JSON."""
    return {"name": name, "datatype": datatype, "shape": list(shape or [len(data)]), "data": list(data)}


def packed(datatype: str, data: Sequence[Any]) -> bytes:
    """Values as binary data."""
    if datatype == "BYTES":
        texts = [text.encode() for text in data]
        return b"".join(struct.pack("<I", len(text)) + text for text in texts)
    return struct.pack(f"<{len(data)}{CODES[datatype]}", *data)


def unpacked(datatype: str, raw: bytes) -> list[Any]:
    """The values of binary data."""
    code = CODES[datatype]
    return list(struct.unpack(f"<{len(raw) // struct.calcsize(code)}{code}", raw))


def binary(tensors: Sequence[dict[str, Any]], **more: Any) -> tuple[bytes, dict[str, str]]:
    """The body and headers of a request with the data of its inputs, which must be flat, after the JSON."""
    parts = [packed(given["datatype"], given["data"]) for given in tensors]
    described = [
        {key: value for key, value in given.items() if key != "data"} | {"parameters": {"binary_data_size": len(part)}}
        for given, part in zip(tensors, parts, strict=True)
    ]
    head = json.dumps({"inputs": described} | more).encode()
    return b"".join([head, *parts]), {"Inference-Header-Content-Length": str(len(head))}


def outputs(content: bytes, json_length: str | None = None) -> dict[str, Any]:
    """The outputs of an answer as arrays, of the shapes that it says."""
    end = len(content) if json_length is None else int(json_length)
    found = {}
    for output in json.loads(content[:end])["outputs"]:
        size = output.get("parameters", {}).get("binary_data_size")
        values = output["data"] if size is None else unpacked(output["datatype"], content[end : end + size])
        if size is not None:
            end += size
        found[output["name"]] = np.array(values).reshape(output["shape"])
    return found
