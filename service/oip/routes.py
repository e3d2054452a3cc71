"""The routes of the protocol."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from kilter.service.bodies.body import JSON
from kilter.service.judging.engine import Engine
from kilter.service.judging.scoring import find
from kilter.service.models.registry import Registry
from kilter.service.oip import metadata
from kilter.service.oip.infer import InferEndpoint
from kilter.service.problems import NOT_READY, RequestError

ROOT = "/v2"
LIVE = "/v2/health/live"
READY = "/v2/health/ready"
MODELS = ("/v2/models/{name}", "/v2/models/{name}/versions/{version}")
"""Each path of a model, without and with a version."""
MODEL_READY = "/ready"
INFER = "/infer"

Endpoint = Callable[[Request], Awaitable[Response]]


def routes(registry: Registry, engine: Engine, max_body_bytes: int, max_records: int) -> Mapping[str, Route]:
    """Every route by its path."""

    async def server(_: Request) -> Response:
        return _json(metadata.ServerMetadata())

    async def live(_: Request) -> Response:
        return _json(metadata.ServerLive())

    async def ready(_: Request) -> Response:
        if registry.why_not_ready is not None:
            raise RequestError(NOT_READY, registry.why_not_ready)
        return _json(metadata.ServerReady())

    def about() -> Endpoint:
        async def model(request: Request) -> Response:
            detector = find(registry, **request.path_params).detector
            return _json(metadata.model_metadata(detector, registry.versions(detector.name)))

        return model

    def readiness() -> Endpoint:
        async def model_ready(request: Request) -> Response:
            return _json(metadata.ModelReady(find(registry, **request.path_params).detector.name))

        return model_ready

    found: dict[str, Any] = {ROOT: server, LIVE: live, READY: ready}
    for path in MODELS:  # with endpoints of their own, as they are counted by these
        found |= {path: about(), path + MODEL_READY: readiness()}
        found[path + INFER] = InferEndpoint(registry, engine, max_body_bytes, max_records)
    return {
        path: Route(path, endpoint, methods=["POST"] if path.endswith(INFER) else ["GET"], include_in_schema=False)
        for path, endpoint in found.items()
    }


def _json(value: msgspec.Struct) -> Response:
    return Response(msgspec.json.encode(value), media_type=JSON)
