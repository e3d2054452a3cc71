"""The routes of the platform: health, readiness, metrics."""

from prometheus_client.exposition import choose_encoder
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from kilter.service.problems import NOT_READY, RequestError
from kilter.service.routes.context import Context
from kilter.service.routing import Content, Route, Scope

METRICS = "/metrics"


class Health(BaseModel):
    """The process answers."""

    live: bool = True


class Ready(BaseModel):
    """The models that serve, by name, with their versions."""

    ready: bool = True
    models: dict[str, int]
    fast_lane: bool = Field(description="whether requests take the fast lane, which is not there for every server")


def platform_routes(context: Context) -> list[Route]:
    """The family."""
    registry = context.registry

    async def health(_: Request) -> Health:
        """Whether the process answers."""
        return Health()

    async def ready(request: Request) -> Ready:
        """Whether a model serves."""
        if registry.why_not_ready is not None:
            raise RequestError(NOT_READY, registry.why_not_ready)
        versions = {detector.name: detector.version for detector in registry.detectors}
        return Ready(models=versions, fast_lane=request.app.state.fast_lane)

    async def metrics(request: Request) -> Response:
        """Metrics as Prometheus reads them."""
        context.ledger.settle()
        encode, media_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(context.metrics.registry), headers={"content-type": media_type})

    text = {"schema": {"type": "string"}}
    exposition = Content({"text/plain": text, "application/openmetrics-text": text})
    return [
        Route("GET", "/healthz", None, None, Health, health, "platform"),
        Route("GET", "/readyz", None, None, Ready, ready, "platform", problems=(NOT_READY,)),
        Route("GET", METRICS, Scope.METRICS, None, lambda: exposition, metrics, "platform", answer="The metrics."),
    ]
