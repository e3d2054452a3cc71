"""Triton's calls for a repository of models: what there is, load, unload."""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec
from anyio.to_thread import run_sync
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from kilter.service.administration.requests import content, told
from kilter.service.bodies.body import JSON
from kilter.service.models.loading import Loader
from kilter.service.problems import LOAD_FAILED, REFUSED
from kilter.service.protection.auth import administrator

INDEX = "/v2/repository/index"
LOAD = "/v2/repository/models/{name}/load"
UNLOAD = "/v2/repository/models/{name}/unload"


class IndexRequest(msgspec.Struct, frozen=True):
    """Whether only what is ready is to be told."""

    ready: bool = False


class Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What may be said of loading and unloading; a model here has no dependents."""

    unload_dependents: bool | msgspec.UnsetType = msgspec.UNSET


class RepositoryRequest(msgspec.Struct, frozen=True):
    """A model's files and configuration cannot be sent: they are in the folder."""

    parameters: Parameters = Parameters()


class IndexEntry(msgspec.Struct, frozen=True):
    """A version of a model."""

    name: str
    version: str
    state: Literal["READY", "UNAVAILABLE"]
    reason: str


class Repository:
    """The endpoints."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def routes(self) -> Mapping[str, Route]:
        """Every route by its path."""
        endpoints: dict[str, Any] = {INDEX: self.index, LOAD: self.load, UNLOAD: self.unload}
        return {path: Route(path, one, methods=["POST"], include_in_schema=False) for path, one in endpoints.items()}

    async def index(self, request: Request) -> Response:
        """Every version of the folder, and every one that is loaded."""
        administrator(request.scope)
        wanted = await content(request, IndexRequest)
        states = await run_sync(self._loader.states)
        return _answer(
            [
                IndexEntry(state.name, str(state.version), "READY" if state.loaded else "UNAVAILABLE", state.why)
                for state in states
                if state.loaded or not wanted.ready
            ]
        )

    async def load(self, request: Request) -> Response:
        """Let the version of the folder serve that is to."""
        administrator(request.scope)
        await content(request, RepositoryRequest)
        with told(LOAD_FAILED):
            await run_sync(self._loader.load, request.path_params["name"])
        return _answer({})

    async def unload(self, request: Request) -> Response:
        """Let a model serve no longer."""
        administrator(request.scope)
        await content(request, RepositoryRequest)
        with told(REFUSED):
            await run_sync(self._loader.unload, request.path_params["name"])
        return _answer({})


def _answer(told: Any) -> Response:
    return Response(msgspec.json.encode(told), media_type=JSON)
