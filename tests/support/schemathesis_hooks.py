"""What schemathesis has to know of CSV, NDJSON, Arrow and pictures, whose forms no JSON Schema can state."""

import json
from io import BytesIO
from typing import Any

import numpy as np
import polars as pl
import schemathesis
from hypothesis import strategies as st

from kilter.service.formats import format_named
from tests.support.pictures import encoded, scene
from tests.support.serving import RECORD, SCHEMA


def bodies() -> st.SearchStrategy[str]:
    """CSV bodies that fit the model `shop`."""
    row = st.tuples(st.integers(0, 99), st.integers(1, 9), st.booleans(), st.sampled_from(["red", "blue"]))
    line = row.map(lambda cells: ",".join(str(cell).lower() for cell in cells) + ",2024-05-31T08:15:00\n")
    header = ",".join(SCHEMA.names) + "\n"
    return st.lists(line, min_size=1, max_size=5).map(lambda lines: header + "".join(lines))


schemathesis.openapi.format("csv", bodies())


@schemathesis.serializer("text/csv", "application/x-ndjson")
def text(_: object, value: object) -> bytes:
    """A CSV or NDJSON body as it stands; what is none, as some other text."""
    return str(value).encode()


def lines() -> st.SearchStrategy[str]:
    """NDJSON bodies that fit the model `shop`."""
    line = st.integers(0, 99).map(lambda amount: json.dumps(RECORD | {"amount": amount}) + "\n")
    return st.lists(line, min_size=1, max_size=3).map("".join)


def arrow(*, stream: bool) -> st.SearchStrategy[str]:
    """Arrow bodies that fit the model `shop`, each byte a character."""

    def body(amounts: list[int]) -> str:
        frame = pl.DataFrame([RECORD | {"amount": amount} for amount in amounts])
        out = BytesIO()
        if stream:
            frame.write_ipc_stream(out)
        else:
            frame.write_ipc(out)
        return out.getvalue().decode("latin-1")

    return st.lists(st.integers(0, 99), min_size=1, max_size=3).map(body)


schemathesis.openapi.format("ndjson", lines())
schemathesis.openapi.format("arrow-stream", arrow(stream=True))
schemathesis.openapi.format("arrow", arrow(stream=False))


@schemathesis.serializer("application/vnd.apache.arrow.stream", "application/vnd.apache.arrow.file")
def binary(_: object, value: object) -> bytes:
    """An Arrow body as it stands; what is none, as some other text."""
    return str(value).encode("latin-1", "replace")


def pictures(*, array: bool) -> st.SearchStrategy[str]:
    """Pictures in a file or an array, each byte a character."""

    def body(height: int, width: int, form: str) -> str:
        picture = scene(height, width, 1)
        if not array:
            return encoded(picture, form).decode("latin-1")
        out = BytesIO()
        np.save(out, picture[None])
        return out.getvalue().decode("latin-1")

    sides = st.integers(1, 30)
    return st.builds(body, sides, sides, st.sampled_from(["PNG", "JPEG", "WEBP", "TIFF", "BMP"]))


schemathesis.openapi.format("picture", pictures(array=False))
schemathesis.openapi.format("npy", pictures(array=True))
schemathesis.openapi.format("heatmap", st.text())


@schemathesis.serializer(*format_named("picture").media_types, *format_named("npy").media_types)
def picture(_: object, value: object) -> bytes:
    """A picture as it stands; what is none, as some other bytes."""
    return str(value).encode("latin-1", "replace")


@schemathesis.hook
def before_call(_: object, case: schemathesis.Case[Any], __: object) -> None:
    """Give every request that states how long it waits the time that a busy machine needs.

    None has unknown fields ignored: no schema of a body can say that a parameter of the query changes it.
    """
    for name, wished in (case.query or {}).items():
        if name == "ignore_unknown" and str(wished).lower() == "true":
            case.query[name] = "false"
    for name, stated in (case.headers or {}).items():
        if name.lower() == "request-timeout":
            try:
                seconds = float(stated)
            except (TypeError, ValueError):
                continue
            if 0 < seconds < 60:
                case.headers[name] = "60"
