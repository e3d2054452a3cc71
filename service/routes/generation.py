"""The route of synthetic records: `POST /v1/models/{name}/generate`."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np

from kilter.service.detector import Detector, KilterError
from kilter.service.detector.generation import generate
from kilter.service.detector.inputs import Table, from_records
from kilter.service.formats.bodies import too_many
from kilter.service.formats.json_body import decode_json
from kilter.service.judging.admission import Hold
from kilter.service.judging.batch import refusal
from kilter.service.models.registry import Registry
from kilter.service.problems import BAD_RECORDS, REFUSED, RequestError
from kilter.service.routes.context import MODEL, Context
from kilter.service.routes.latent import (
    PIECE,
    LatentEndpoint,
    bytes_of_records,
    check_time,
    json_form,
    prepare_route,
)
from kilter.service.routes.latent_document import describe_orders
from kilter.service.routes.latent_query import SEED, LatentQuery
from kilter.service.routes.scoring import ModelTools
from kilter.service.routing import Content, Route

Cell = str | int | float | bool | None


class Order(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A body."""

    count: int
    where: dict[str, Cell] = {}
    near: list[dict[str, Any]] | None = None
    prior: Literal["learned", "standard"] = "learned"


class Commission(NamedTuple):
    """An order, with the records that others are to be near to."""

    order: Order
    near: Table | None

    @property
    def rows(self) -> int:
        return self.order.count


class GenerateEndpoint(LatentEndpoint):
    """Make synthetic records.

    They are valid by the schema of the model, and like the rows that it was trained on. The model is one that was
    trained with a generator, or the prior is `standard`. Values in `where` hold for all of them; with records in
    `near`, of a table, each keeps about half of the fields of one of these.
    """

    parameters = (SEED,)

    @staticmethod
    def describe(registry: Registry, max_records: int) -> Content:
        return describe_orders(registry, max_records)

    def check(self, detector: Detector, query: LatentQuery) -> None:
        """What is possible depends on the body."""

    def form(self, content_type: str, tools: ModelTools) -> Any:
        return json_form(content_type, "an order comes")

    async def tables(
        self, tools: ModelTools, query: LatentQuery, content: bytes, hold: Hold, deadline: float
    ) -> Sequence[Any]:
        return [await self._engine.run(read_order, content, tools.detector, tools.limit)]

    def answer(self, detector: Detector, query: LatentQuery, tables: Sequence[Any], deadline: float) -> bytes:
        [(order, near)] = tables
        rng = np.random.default_rng(query.seed)
        made = []
        for start in range(0, order.count, PIECE):
            check_time(deadline)
            size = min(PIECE, order.count - start)
            try:
                made.append(
                    generate(
                        detector.latent, detector.generator, size, rng, near=near, where=order.where, prior=order.prior
                    )
                )
            except KilterError as error:
                kind = REFUSED if detector.generator is None else BAD_RECORDS
                raise RequestError(kind, str(error)) from None
        return bytes_of_records(detector, query, made)


def read_order(content: bytes, detector: Detector, limit: int) -> Commission:
    """The order in a body. Raises RequestError that says what is wrong with it."""
    try:
        order = msgspec.convert(decode_json(content, limit), Order)
    except msgspec.ValidationError as error:
        raise RequestError(
            BAD_RECORDS, f'the body is {{"count": 100, "where": {{...}}, "near": [...]}}: {error}'
        ) from None
    if order.count < 1:
        raise RequestError(BAD_RECORDS, "there are no records to make: the count is 1 or more")
    if order.count > limit:
        raise RequestError(BAD_RECORDS, f"the count is at most {limit:,}, the records that a request may have")
    if len(order.near or ()) > limit:
        raise too_many(limit)
    if order.near is None:
        return Commission(order, None)
    if detector.modality.decodes or not order.near:
        raise RequestError(BAD_RECORDS, "near has one record of a table or more: leave it out")
    near = from_records(detector.schema, order.near)
    if near.problems:
        raise refusal(near.problems)
    return Commission(order, near)


def generation_routes(context: Context) -> list[Route]:
    """The routes that make records, by the version of a model that serves or by another."""
    route = prepare_route(context, GenerateEndpoint, "The records.")
    return [
        route(f"{MODEL}/generate"),
        route(f"{MODEL}/versions/{{version}}/generate", summary="Generate by a version"),
    ]
