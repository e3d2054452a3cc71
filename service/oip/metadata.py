"""What the protocol tells about the server and its models."""

from collections.abc import Sequence

import msgspec

from kilter import __version__
from kilter.service.detector import Detector
from kilter.service.oip.answers import CONTRIBUTION, outputs_of
from kilter.service.oip.records import datatypes, matrix_name, takes_matrix

ANY = -1
"""In a shape: as many as there are records."""


class ServerLive(msgspec.Struct, frozen=True):
    """The process answers."""

    live: bool = True


class ServerReady(msgspec.Struct, frozen=True):
    """Whether requests can be answered."""

    ready: bool = True


class ModelReady(msgspec.Struct, frozen=True):
    """A model that serves."""

    name: str
    ready: bool = True


class ServerMetadata(msgspec.Struct, frozen=True):
    """The server, its version, and what it has beyond the protocol itself."""

    name: str = "kilter"
    version: str = __version__
    extensions: tuple[str, ...] = ("binary_tensor_data",)


class TensorMetadata(msgspec.Struct, frozen=True):
    """An input or output; -1 in its shape stands for the number of records."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(msgspec.Struct, frozen=True):
    """A model: its versions, its inputs, of which a request sends the matrix or else all the columns, its outputs."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


def model_metadata(detector: Detector, versions: Sequence[int]) -> ModelMetadata:
    """All about a model: the matrix first if its columns are all numbers and flags, then the columns."""
    schema = detector.schema
    width = len(schema.names)
    matrix = [TensorMetadata(matrix_name(schema), "FP32", [ANY, width])] if takes_matrix(schema) else []
    each = [ANY, *schema.columns[0].value_shape]
    return ModelMetadata(
        detector.name,
        [str(version) for version in versions],
        f"kilter_{detector.manifest.network.kind}",
        matrix + [TensorMetadata(column.name, datatypes(column)[0], each) for column in schema.fields],
        [
            TensorMetadata(name, datatype, [ANY, width] if name == CONTRIBUTION else [ANY])
            for name, datatype in outputs_of(schema).items()
        ],
    )
