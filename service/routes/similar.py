"""The route of known records that are like others: `POST /v1/models/{name}/similar`."""

from collections.abc import Sequence
from typing import Any

import msgspec

from kilter.service.detector import Detector, KilterError
from kilter.service.formats import NDJSON
from kilter.service.judging.admission import Hold
from kilter.service.judging.verdicts import ModelName
from kilter.service.problems import BAD_PARAMETER, REFUSED, RequestError
from kilter.service.routes.context import MODEL, Context
from kilter.service.routes.latent import LatentEndpoint, in_time, prepare_route
from kilter.service.routes.latent_document import SimilarAnswer
from kilter.service.routes.latent_query import NEAREST, UNKNOWN, LatentQuery
from kilter.service.routes.scoring import ModelTools
from kilter.service.routing import Route


class SimilarEndpoint(LatentEndpoint):
    """Show known records like these.

    Of each record come the training rows that the score remembers and that are nearest to it, nearest first, by the
    distance by which the model scores: their fields, as they are remembered, and their row numbers in the training
    file, if the model keeps these. Of pictures come the numbers and names. Bodies are those of the score route.
    """

    parameters = (NEAREST, UNKNOWN)
    gives = SimilarAnswer

    def check(self, detector: Detector, query: LatentQuery) -> None:
        try:
            detector.similarity.check(among=False)
        except KilterError as error:
            raise RequestError(REFUSED, str(error)) from None

    async def tables(
        self, tools: ModelTools, query: LatentQuery, content: bytes, hold: Hold, deadline: float
    ) -> Sequence[Any]:
        tables = await super().tables(tools, query, content, hold, deadline)
        known = query.nearest * sum(table.rows for table in tables)
        if known > tools.limit:
            text = f"k times the records is at most {tools.limit:,}, the records that a request may have: ask for fewer"
            raise RequestError(BAD_PARAMETER, text)
        hold.add(known, 0)
        return tables

    def answer(self, detector: Detector, query: LatentQuery, tables: Sequence[Any], deadline: float) -> bytes:
        near = [one for piece in in_time(tables, deadline) for one in detector.similarity.find(piece, query.nearest)]
        if query.body.answer == NDJSON:
            return msgspec.json.Encoder().encode_lines(near)
        return msgspec.json.encode(SimilarAnswer(ModelName(detector.name, detector.version), near))


def similar_routes(context: Context) -> list[Route]:
    """The routes that show known records, by the version of a model that serves or by another."""
    route = prepare_route(context, SimilarEndpoint, "The known records that are like each of the body, in its order.")
    return [
        route(f"{MODEL}/similar"),
        route(f"{MODEL}/versions/{{version}}/similar", summary="Show known records like these by a version"),
    ]
