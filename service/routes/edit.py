"""The route of records that are moved in the latent space: `POST /v1/models/{name}/edit`."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np

from kilter.service.detector import Detector, KilterError
from kilter.service.detector.arrays import Floats
from kilter.service.detector.inputs import Table, join
from kilter.service.detector.latent import FARTHEST, Slope, generator_of
from kilter.service.detector.pictures.column import png_of, strip_of
from kilter.service.formats import PNG, Format
from kilter.service.formats.json_body import decode_json
from kilter.service.judging.admission import Hold
from kilter.service.models.registry import Registry
from kilter.service.problems import BAD_PARAMETER, BAD_RECORDS, RequestError
from kilter.service.routes.context import MODEL, Context
from kilter.service.routes.latent import LatentEndpoint, bytes_of_records, in_time, json_form, prepare_route
from kilter.service.routes.latent_document import describe_edits
from kilter.service.routes.latent_query import SEED, STEPS, STRENGTH, LatentQuery
from kilter.service.routes.scoring import ModelTools
from kilter.service.routing import Content, Route

SHAPE = (
    'the body is {"records": [...]} with a direction: "from": [...], "to": [...], or "by": [...], "along": [...], '
    'or "direction": [...]'
)
NOTHING = msgspec.Raw()


class EditOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"source": "from", "target": "to"}):
    """A body."""

    records: msgspec.Raw
    source: msgspec.Raw = NOTHING
    target: msgspec.Raw = NOTHING
    by: msgspec.Raw = NOTHING
    along: list[float | bool | None] = []
    """A value of each record in `by`: a number, or whether it is of a group; null where it is not known."""
    direction: list[float] = []


class Edit(NamedTuple):
    """Records to be moved, and those that tell the direction."""

    records: Sequence[Table]
    steps: int
    direction: Floats | None
    """(size,), where it is stated."""
    known: Sequence[tuple[Sequence[Table], Floats]]
    """Records with a value of each, NaN where it is not known."""
    grouped: bool
    """Whether these values are 0 and 1, for two groups."""

    @property
    def rows(self) -> int:
        parts = [self.records, *(tables for tables, _ in self.known)]
        return self.steps + sum(table.rows for tables in parts for table in tables)


class EditEndpoint(LatentEndpoint):
    """Move records in a direction.

    The direction leads from the mean code of the records `from` to that of the records `to`; or along a value that each
    of the records `by` has in `along`: numbers, to a standard deviation more of them, or true and false, from the one
    group to the other; or it is `direction`, as many numbers as a code has. The records are answered as the model sees
    them, moved by `strength` times the direction. With `steps` there is one record, and it is shown on its way; as a
    PNG, pictures stand side by side.
    """

    parameters = (STRENGTH, STEPS, SEED)

    @staticmethod
    def describe(registry: Registry, max_records: int) -> Content:
        return describe_edits(registry, max_records)

    def form(self, content_type: str, tools: ModelTools) -> Format:
        return json_form(content_type, "records and what tells the direction come")

    async def tables(
        self, tools: ModelTools, query: LatentQuery, content: bytes, hold: Hold, deadline: float
    ) -> Sequence[Any]:
        if (query.steps or 0) > tools.limit:
            raise RequestError(BAD_PARAMETER, f"steps is at most {tools.limit:,}, the records that a request may have")
        order, direction = await self._engine.run(read_edit, content, tools.detector.latent.size, tools.limit)
        parts = {"records": order.records, "from": order.source, "to": order.target, "by": order.by}
        read: dict[str, Sequence[Table]] = {}
        for name, records in parts.items():
            if len(bytes(records)):
                body = b'{"records":' + bytes(records) + b"}"
                try:
                    read[name] = await super().tables(tools, query, body, hold, deadline)
                except RequestError as error:
                    raise RequestError(error.kind, f"{name}: {error.detail}", error.problems, error.headers) from None
        rows = {name: sum(table.rows for table in tables) for name, tables in read.items()}
        if query.steps is not None and rows["records"] != 1:
            raise RequestError(
                BAD_RECORDS, f"with steps one record is shown on its way: send one, not {rows['records']}"
            )
        grouped, known = True, [(read[name], np.full(rows[name], value)) for name, value in GROUPS if name in read]
        if order.along:
            if rows["by"] != len(order.along):
                text = f"along has a value for each record of by: {len(order.along):,} for {rows['by']:,}"
                raise RequestError(BAD_RECORDS, text)
            grouped = all(isinstance(value, bool) for value in order.along if value is not None)
            known = [(read["by"], np.array([np.nan if value is None else value for value in order.along], np.float64))]
        return [Edit(read["records"], query.steps or 0, direction, known, grouped)]

    def answer(self, detector: Detector, query: LatentQuery, tables: Sequence[Any], deadline: float) -> bytes:
        [edit] = tables
        rng = generator_of(query.seed)
        try:
            change = query.strength * (_direction(detector, edit, deadline) if edit.known else edit.direction)
            if edit.steps:
                made = detector.latent.walk(join(edit.records), change, edit.steps, rng)
                if query.body.answer == PNG:
                    return png_of(strip_of(detector.modality.given(made)))
                return bytes_of_records(detector, query, [made])
            moved = [detector.latent.reconstruct(piece, rng, change) for piece in in_time(edit.records, deadline)]
        except KilterError as error:
            raise RequestError(BAD_RECORDS, str(error)) from None
        return bytes_of_records(detector, query, moved)


GROUPS = (("from", 0.0), ("to", 1.0))
"""Records by which a direction is told, and the value of each."""


def _direction(detector: Detector, edit: Edit, deadline: float) -> Floats:
    """The direction that known records tell, (size,). Raises KilterError, and RequestError when the time is over."""
    slope = Slope(detector.latent.size)
    for tables, values in edit.known:
        codes = np.concatenate([detector.latent.encode(piece) for piece in in_time(tables, deadline)])
        known = ~np.isnan(values)
        slope.add(codes[known], values[known])
    return slope.direction(grouped=edit.grouped)


def read_edit(content: bytes, size: int, limit: int) -> tuple[EditOrder, Floats | None]:
    """The order in a body, and its direction if it is stated. Raises RequestError that says what is wrong with it."""
    decode_json(content, 4 * limit)  # what is no JSON, or has a key twice, is said as of any body
    try:
        order = msgspec.json.decode(content.removeprefix(b"\xef\xbb\xbf"), type=EditOrder)
    except msgspec.ValidationError as error:
        raise RequestError(BAD_RECORDS, f"{SHAPE}: {error}") from None
    ways = [
        [len(bytes(order.source)) > 0, len(bytes(order.target)) > 0],
        [len(bytes(order.by)) > 0, len(order.along) > 0],
        [len(order.direction) > 0],
    ]
    if [any(way) for way in ways].count(True) != 1 or any(any(way) != all(way) for way in ways):
        raise RequestError(BAD_RECORDS, f"a direction is stated in one way, and whole: {SHAPE}")
    numbers = [value for value in (*order.along, *order.direction) if value is not None]
    if not all(abs(number) <= FARTHEST for number in numbers):
        raise RequestError(BAD_RECORDS, f"along and direction are made of numbers up to {FARTHEST:,.0f}")
    if not order.direction:
        return order, None
    if len(order.direction) != size:
        text = f"the direction is a list of {size} numbers, as a code is, and this is one of {len(order.direction):,}"
        raise RequestError(BAD_RECORDS, text)
    return order, np.array(order.direction, np.float64)


def edit_routes(context: Context) -> list[Route]:
    """The routes that move records, by the version of a model that serves or by another."""
    route = prepare_route(context, EditEndpoint, "The records, moved, in the order of the body.")
    return [
        route(f"{MODEL}/edit"),
        route(f"{MODEL}/versions/{{version}}/edit", summary="Move records in a direction by a version"),
    ]
