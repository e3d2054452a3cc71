"""The administration: what is loaded, at which rate it judges, and what is in its shadow.

The guard lets a request reach it only with a token of the scope admin; without such a token it is not there.
"""

from collections.abc import Mapping

from anyio.to_thread import run_sync
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from kilter.service.administration.requests import Candidate, TargetRate, WhichVersion, content, told
from kilter.service.bodies.body import JSON
from kilter.service.models import shadow as evidence
from kilter.service.models.loading import Loader
from kilter.service.models.registry import Serving
from kilter.service.problems import LOAD_FAILED, REFUSED, UNSUPPORTED_RATE
from kilter.service.protection.auth import administrator
from kilter.service.request import notes_of
from kilter.service.web import info

MODEL = "/v1/models/{name}"
LOAD, UNLOAD, THRESHOLD, SHADOW = (f"{MODEL}/{what}" for what in ("load", "unload", "threshold", "shadow"))


class Unloaded(BaseModel):
    """The versions of a model that are loaded no longer."""

    name: str
    versions: list[int]


class Admin:
    """The endpoints; what takes time is done in threads."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader
        self._registry = loader.registry

    def routes(self) -> Mapping[str, Route]:
        """Every route by its path."""
        return {
            LOAD: Route(LOAD, self.load, methods=["POST"], include_in_schema=False),
            UNLOAD: Route(UNLOAD, self.unload, methods=["POST"], include_in_schema=False),
            THRESHOLD: Route(THRESHOLD, self.threshold, methods=["PUT", "DELETE"], include_in_schema=False),
            SHADOW: Route(SHADOW, self.shadow, methods=["GET", "PUT", "DELETE"], include_in_schema=False),
        }

    async def load(self, request: Request) -> Response:
        """Load a version from the folder."""
        administrator(request.scope)
        wanted = await content(request, WhichVersion)
        with told(LOAD_FAILED):
            serving = await run_sync(self._loader.load, request.path_params["name"], wanted.version)
        return self._details(serving)

    async def unload(self, request: Request) -> Response:
        """Unload a model, or a version beside the one that serves."""
        administrator(request.scope)
        wanted = await content(request, WhichVersion)
        name = request.path_params["name"]
        with told(REFUSED):
            gone = await run_sync(self._loader.unload, name, wanted.version)
        return _answer(Unloaded(name=name, versions=gone))

    async def threshold(self, request: Request) -> Response:
        """Judge by another target false-positive rate, or by the artifact's own again."""
        who = {"token": administrator(request.scope), "request_id": notes_of(request.scope).request_id}
        rate = (await content(request, TargetRate)).target_fpr if request.method == "PUT" else None
        with told(UNSUPPORTED_RATE):
            serving = await run_sync(self._registry.rate, request.path_params["name"], rate, who)
        return self._details(serving)

    async def shadow(self, request: Request) -> Response:
        """Tell how the version in the shadow compares, put one there, or end it."""
        administrator(request.scope)
        name = request.path_params["name"]
        with told(LOAD_FAILED):
            if request.method == "PUT":
                wanted = await content(request, Candidate)
                shadowed = await run_sync(self._loader.cast, name, wanted.version)
            elif request.method == "DELETE":
                shadowed = await run_sync(self._registry.uncast, name)
            else:
                shadowed = self._registry.shadowed(name)
        return _answer(await run_sync(evidence.shadow_info, *shadowed))

    def _details(self, serving: Serving) -> Response:
        return _answer(info.details(serving, self._registry.versions(serving.detector.name)))


def _answer(told: BaseModel) -> Response:
    return Response(told.model_dump_json(by_alias=True), media_type=JSON)
