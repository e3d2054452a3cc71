"""The scoring service as an ASGI application."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import anyio.to_thread
from fastapi import FastAPI, Request
from starlette.responses import Response

from kilter.service.judging.admission import Admission
from kilter.service.judging.engine import Engine
from kilter.service.judging.intake import Decoder
from kilter.service.models.loading import Loader, Watch, shadows_of
from kilter.service.models.registry import Registry
from kilter.service.monitoring.logs import Ledger
from kilter.service.monitoring.metrics import Metrics
from kilter.service.monitoring.telemetry import Tracing
from kilter.service.problems import RequestError
from kilter.service.protection.auth import Guard, guard_of
from kilter.service.routes import FAMILIES
from kilter.service.routes.context import Context
from kilter.service.routing import RouteTable
from kilter.service.settings import Settings
from kilter.service.web.edge import Edge, internal_error, make_handler, reply
from kilter.service.web.openapi import Document


def create_app(
    settings: Settings,
    registry: Registry | None = None,
    metrics: Metrics | None = None,
    tracing: Tracing | None = None,
    guard: Guard | None = None,
    loader: Loader | None = None,
    ledger: Ledger | None = None,
) -> Edge:
    """Make the service. A given registry serves as it is; without one the models folder is loaded at the start."""
    guard = guard or guard_of(settings.tokens_file, settings.metrics_port)
    metrics = metrics or Metrics()
    ledger = ledger or Ledger(metrics)
    served = registry or Registry(metrics, max_versions=settings.max_versions)
    loader = loader or Loader(served, settings.models, settings.device)
    admission = Admission(settings.max_inflight_records, settings.max_inflight_bytes, metrics)
    engine = Engine(admission, metrics, settings.request_seconds)
    decoder = Decoder(engine, settings.max_pixels)
    context = Context(settings, served, loader, engine, decoder, metrics, ledger, guard)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        if registry is None:
            await anyio.to_thread.run_sync(context.loader.load_all)
        watching = asyncio.create_task(context.guard.watch())
        try:
            with Watch(context.loader, settings.watch_seconds, shadows_of(settings.shadow)):
                yield
        finally:
            watching.cancel()
            context.ledger.settle()
            served.shadow_thread.stop()

    app = FastAPI(
        lifespan=lifespan,
        openapi_url=None,
        redirect_slashes=False,
        exception_handlers={RequestError: _problem, Exception: _fault},
        # FastAPI's own would log the texts of exceptions, which may quote a record.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    table = RouteTable(route for family in FAMILIES for route in family(context))
    for route in table.routes:
        if not route.direct:
            app.add_api_route(route.path, make_handler(route), methods=[route.method], response_model=None)
    app.state.document = lambda: Document(context).describe(table)
    app.state.fast_lane = False
    return Edge(app, table, context, tracing)


async def _problem(request: Request, error: Exception) -> Response:
    return reply(request.scope, cast(RequestError, error))


async def _fault(request: Request, _: Exception) -> Response:
    """Starlette raises the error again afterwards, for the log."""
    return reply(request.scope, internal_error(request.scope))
