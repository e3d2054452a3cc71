"""The doors of the service: a format and a route are added from outside, each by one entry in a registry."""

from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, Self

import polars as pl
import pytest
from pydantic import BaseModel
from starlette.requests import Request

from kilter.service.detector import Schema, load
from kilter.service.formats import FORMATS, Format
from kilter.service.formats.lines import VerdictColumns
from kilter.service.formats.reading import Batch, Reader, read_frame
from kilter.service.formats.records import Dialect
from kilter.service.formats.scoring import score_file
from kilter.service.formats.source import Source
from kilter.service.formats.writers import Output, OutputPart, Writer, with_verdicts
from kilter.service.models.registry import Registry
from kilter.service.monitoring.metrics import Metrics
from kilter.service.protection.auth import Grant, Guard, Keyring
from kilter.service.routes import FAMILIES
from kilter.service.routes.context import Context, find
from kilter.service.routing import Route, Scope
from kilter.service.settings import Settings
from kilter.service.web.app import create_app
from kilter.training.config import FitConfig, TrainConfig
from kilter.training.data.source import TrainingSource
from kilter.training.pipeline import train_model
from tests.support.serving import Client, client, detector

MAGIC = b"#bars\n"


class BarReader(Reader):
    """Reads tables whose cells stand between bars, the first line naming the columns. See `formats.reading.Reader`."""

    dialect: Dialect | None = None
    header = b""
    notes: tuple[str, ...] = ()

    def __init__(self, source: Source) -> None:
        self._source = source
        self.name = source.name
        lines = source.read(1 << 30).removeprefix(MAGIC).decode().splitlines()
        names, *rows = (line.strip("|").split("|") for line in lines)
        self.columns = tuple(names)
        self._frame = pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String), orient="row")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._source.close()

    def batches(self) -> Iterator[Batch]:
        yield Batch(self._frame, 0)


class BarWriter(Writer):
    """Writes the same, with the verdicts."""

    def __init__(
        self, output: Output, reader: Reader, schema: Schema, further: Sequence[str], kept: Sequence[str] | None
    ) -> None:
        self._file = output.file

    def render(self, batch: Batch, verdicts: VerdictColumns) -> OutputPart:
        frame = with_verdicts(batch.frame, verdicts)
        return OutputPart(MAGIC + b"".join(line(row) for row in (frame.columns, *frame.iter_rows())))

    def put(self, part: OutputPart) -> None:
        self._file.write(part.content)

    def finish(self) -> None: ...


def line(cells: Any) -> bytes:
    return ("|" + "|".join("" if cell is None else str(cell) for cell in cells) + "|\n").encode()


BARS = Format(
    "bars",
    "a table of bars",
    lambda head: head.startswith(MAGIC),
    (".bars",),
    ("application/x-bars",),
    open=BarReader,
    write=BarWriter,
    answers=True,
)


def bars(frame: pl.DataFrame) -> bytes:
    return MAGIC + b"".join(map(line, (frame.columns, *frame.iter_rows())))


def test_a_format(tmp_path: Path, training_csv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry in `FORMATS`: it is trained on, scored from a file to a file, and posted."""
    monkeypatch.setattr("kilter.service.formats.FORMATS", [BARS, *FORMATS])
    monkeypatch.setattr("kilter.service.formats.writers.FORMATS", [BARS, *FORMATS])
    source, out = tmp_path / "rows.bars", tmp_path / "out.bars"
    source.write_bytes(bars(read_frame([training_csv]).frame))
    config = TrainConfig(target_fpr=0.05, split="random", fit=FitConfig(steps=50))
    train_model(TrainingSource((source,)), "toy", tmp_path / "models", config)
    model = load(tmp_path / "models" / "toy")
    summary = score_file(model, source, out)
    assert (summary.records, summary.errors) == (600, 0)
    rows = out.read_bytes().splitlines()[2:]
    metrics = Metrics()
    with Client(create_app(Settings(), Registry(metrics, [model]), metrics)) as http:
        sent = {"Content-Type": "application/x-bars"}
        answer = http.post("/v1/models/toy/score", content=source.read_bytes(), headers=sent)
        assert answer.status_code == 200, answer.text
        scores = [result["score"] for result in answer.json()["results"]]
        written = [float(row.split(b"|")[-6]) for row in rows]
        assert scores == pytest.approx(written, abs=1e-5)
        back = http.post(
            "/v1/models/toy/score", content=source.read_bytes(), headers=sent | {"Accept": sent["Content-Type"]}
        )
        assert back.headers["content-type"] == "application/x-bars"
        assert BytesIO(back.content).read(6) == MAGIC
        document = http.get("/openapi.json").json()
        assert "application/x-bars" in document["paths"]["/v1/models/{name}/score"]["post"]["requestBody"]["content"]


class Fields(BaseModel):
    """The names of a model's fields."""

    names: list[str]


def field_routes(context: Context) -> list[Route]:
    """A family of one route."""

    async def show_fields(request: Request) -> Fields:
        """The fields of a model.

        In the order of its columns.
        """
        return Fields(names=list(find(context.registry, request.path_params["name"]).detector.schema.names))

    return [Route("GET", "/v1/models/{name}/fields", Scope.SCORE, None, Fields, show_fields, "toys")]


def test_a_route(monkeypatch: pytest.MonkeyPatch) -> None:
    """A route in a family, an entry in `FAMILIES`: it is found, documented, guarded and counted."""
    monkeypatch.setattr("kilter.service.web.app.FAMILIES", [*FAMILIES, field_routes])
    path = "/v1/models/{name}/fields"
    with client() as http:
        assert http.get("/v1/models/shop/fields").json() == {"names": ["amount", "items", "member", "colour", "at"]}
        assert http.get("/v1/models/other/fields").json()["type"] == "/docs#unknown-model"
        assert http.post("/v1/models/shop/fields").headers["allow"] == "GET"
        document = http.get("/openapi.json").json()
        operation = document["paths"][path]["get"]
        assert (operation["summary"], operation["description"]) == (
            "The fields of a model",
            "In the order of its columns.",
        )
        assert operation["responses"].keys() == {"200", "404"}
        assert "names" in document["components"]["schemas"]["Fields"]["properties"]
        assert path in http.get("/docs").text
        assert f'kilter_request_duration_seconds_count{{route="{path}",status="200"}} 1.0' in http.get("/metrics").text
    guard = Guard(Keyring([Grant("shop", b"x" * 32, frozenset({Scope.SCORE}))]))
    metrics = Metrics()
    with Client(create_app(Settings(), Registry(metrics, [detector()]), metrics, guard=guard)) as http:
        assert http.get("/v1/models/shop/fields").status_code == 401
