"""The scoring service as an ASGI application."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, cast

import anyio.to_thread
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse
from prometheus_client.exposition import choose_encoder
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Route

from kilter import __version__
from kilter.service.administration.repository import Repository
from kilter.service.administration.routes import Admin
from kilter.service.judging.admission import Admission
from kilter.service.judging.engine import Engine
from kilter.service.judging.picture_scoring import PictureScoring
from kilter.service.judging.scoring import ScoreEndpoint, find
from kilter.service.models.loading import Loader, Watch, shadows_of
from kilter.service.models.registry import Registry
from kilter.service.monitoring.logs import Ledger
from kilter.service.monitoring.metrics import Metrics
from kilter.service.monitoring.telemetry import Tracing
from kilter.service.oip.infer import InferEndpoint
from kilter.service.oip.routes import routes as oip_routes
from kilter.service.problems import NOT_READY, WRONG_METHOD, RequestError, no_route, reply
from kilter.service.protection.auth import METRICS_PATH, Guard, guard_of
from kilter.service.protection.document import secured
from kilter.service.settings import Settings
from kilter.service.web import info, openapi, pages
from kilter.service.web.edge import Edge
from kilter.service.web.shortcut import Application

Endpoint = Callable[..., Awaitable[Any]]


def create_app(
    settings: Settings,
    registry: Registry | None = None,
    metrics: Metrics | None = None,
    tracing: Tracing | None = None,
    guard: Guard | None = None,
    loader: Loader | None = None,
    ledger: Ledger | None = None,
) -> FastAPI:
    """The service. A registry that is given serves as it is; without one the models folder is loaded at start."""
    guarded = guard or guard_of(settings.tokens_file, settings.metrics_port)
    counted = metrics or Metrics()
    told = ledger or Ledger(counted)
    served = registry or Registry(counted, max_versions=settings.max_versions)
    loading = loader or Loader(served, settings.models, settings.device)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        if registry is None:
            await anyio.to_thread.run_sync(loading.load_all)
        watching = asyncio.create_task(guarded.watch())
        try:
            with Watch(loading, settings.watch_seconds, shadows_of(settings.shadow)):
                yield
        finally:
            watching.cancel()
            told.settle()
            served.shadow_thread.stop()

    app = Application(
        title="Kilter",
        version=__version__,
        lifespan=lifespan,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        # FastAPI's own would tell exceptions' texts, which may quote a record.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    admission = Admission(settings.max_inflight_records, settings.max_inflight_bytes, counted)
    engine = Engine(admission, counted, settings.request_seconds)
    pictures = PictureScoring(engine, settings.max_pixels, settings.max_records)
    score = ScoreEndpoint(served, engine, pictures, settings.max_body_bytes, settings.max_records)
    app.router.routes.append(Route(openapi.SCORE_PATH, score, methods=["POST"], include_in_schema=False))
    one = ScoreEndpoint(served, engine, pictures, settings.max_body_bytes, settings.max_records)
    app.router.routes.append(Route(openapi.SCORE_VERSION_PATH, one, methods=["POST"], include_in_schema=False))
    paths: dict[Any, str] = {score: openapi.SCORE_PATH, one: openapi.SCORE_VERSION_PATH}
    for path, route in {
        **oip_routes(served, engine, settings.max_body_bytes, settings.max_records),
        **Admin(loading).routes(),
        **Repository(loading).routes(),
    }.items():
        app.router.routes.append(route)
        paths[route.endpoint] = path

    def get(path: str, **options: Any) -> Callable[[Endpoint], Endpoint]:
        def register(endpoint: Endpoint) -> Endpoint:
            app.add_api_route(path, endpoint, methods=["GET"], **options)
            paths[endpoint] = path
            return endpoint

        return register

    @get("/v1/models", tags=["models"], summary="The models that serve", response_description="They, by name.")
    async def list_models() -> info.Models:
        return info.Models(models=[info.summary(d) for d in served.detectors], failed=sorted(served.failures))

    @get("/v1/models/{name}", tags=["models"], summary="A model", response_description="All about it.")
    async def show_model(name: str) -> info.ModelDetails:
        return info.details(find(served, name), served.versions(name))

    @get(
        "/v1/models/{name}/versions/{version}",
        tags=["models"],
        summary="A version of a model",
        response_description="All about it.",
    )
    async def show_version(name: str, version: str) -> info.ModelDetails:
        return info.details(find(served, name, version), served.versions(name))

    @get("/healthz", tags=["platform"], summary="Whether the process answers", response_description="It does.")
    async def health() -> info.Health:
        return info.Health()

    @get("/readyz", tags=["platform"], summary="Whether a model serves", response_description="Those that do.")
    async def ready() -> info.Ready:
        if served.why_not_ready is not None:
            raise RequestError(NOT_READY, served.why_not_ready)
        return info.Ready(models={detector.name: detector.version for detector in served.detectors})

    @get(
        "/metrics",
        tags=["platform"],
        summary="Metrics",
        response_class=Response,
        response_description="For Prometheus.",
    )
    async def show_metrics(request: Request) -> Response:
        told.settle()
        encode, media_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(counted.registry), headers={"content-type": media_type})

    def described() -> dict[str, Any]:
        found = openapi.document(app, served, settings.max_records, settings.max_pixels, admin=guarded.admin)
        if settings.metrics_port is not None:
            del found["paths"][METRICS_PATH]
        return secured(found, guarded.tokens)

    @get("/", include_in_schema=False)
    async def home(request: Request) -> HTMLResponse:
        return HTMLResponse(
            pages.home(served, str(request.base_url), metrics=settings.metrics_port is None), headers=pages.HEADERS
        )

    @get("/docs", include_in_schema=False)
    async def docs(request: Request) -> HTMLResponse:
        return HTMLResponse(pages.docs(described(), str(request.base_url)), headers=pages.HEADERS)

    @get("/openapi.json", include_in_schema=False)
    async def show_openapi() -> dict[str, Any]:
        return described()

    app.add_exception_handler(RequestError, _http_problem)
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_middleware(
        Edge, metrics=counted, routes=paths, guard=guarded, registry=served, ledger=told, tracing=tracing
    )
    short = {path: endpoint for endpoint, path in paths.items() if isinstance(endpoint, ScoreEndpoint | InferEndpoint)}
    app.hasten(
        short,
        partial(Edge, metrics=counted, routes=paths, guard=guarded, registry=served, ledger=told, tracing=tracing),
    )
    return app


async def _http_problem(request: Request, error: Exception) -> Response:
    return reply(request.scope, cast(RequestError, error))


async def _http_exception(request: Request, error: Exception) -> Response:
    """What the router itself refuses: a path or a method that is not there."""
    refused = cast(HTTPException, error)
    if refused.status_code == WRONG_METHOD.status:
        place = f"{request.method[:20]} {request.scope['path'][:200]}"
        detail = f"{place} is not possible: the header Allow says what is"
        return reply(request.scope, RequestError(WRONG_METHOD, detail, headers=refused.headers))
    return reply(request.scope, no_route(request.scope))
