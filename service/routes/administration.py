"""The administration: what is loaded, at which rate it judges, what is in its shadow; and Triton's calls for the same.

The guard lets a request reach it only with a token of the scope admin; without such a token it is not there.
"""

from dataclasses import replace
from typing import Annotated, Literal

import msgspec
from anyio.to_thread import run_sync
from pydantic import BaseModel
from starlette.requests import Request

from kilter.service.detector.manifest import HIGHEST_RATE
from kilter.service.models.shadow import ShadowInfo, describe_shadow
from kilter.service.problems import LOAD_FAILED, REFUSED, UNSUPPORTED_RATE
from kilter.service.request import notes_of
from kilter.service.routes.context import Context
from kilter.service.routes.models import MODEL, ModelDetails, details_of
from kilter.service.routing import Route, Scope

INDEX = "/v2/repository/index"
REPOSITORY = "/v2/repository/models/{name}"
Version = Annotated[int, msgspec.Meta(ge=1, le=999_999_999)]


class WhichVersion(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A version; null for the one that serves and, of those in the folder, the one that is to serve."""

    version: Version | None = None


class TargetRate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The share of normal records that may be flagged."""

    target_fpr: Annotated[float, msgspec.Meta(gt=0, le=HIGHEST_RATE)]


class Candidate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A version that is to be in the shadow of the one that serves."""

    version: Version


class UnloadedVersions(BaseModel):
    """The versions of a model that are loaded no longer."""

    name: str
    versions: list[int]


class IndexRequest(msgspec.Struct, frozen=True):
    """Whether only the versions that are ready are listed."""

    ready: bool = False


class RepositoryParameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What may be said of loading and unloading; a model here has no dependents."""

    unload_dependents: bool | msgspec.UnsetType = msgspec.UNSET


class RepositoryRequest(msgspec.Struct, frozen=True):
    """A model's files and configuration cannot be sent: they are in the folder."""

    parameters: RepositoryParameters = RepositoryParameters()


class IndexEntry(msgspec.Struct, frozen=True):
    """A version of a model."""

    name: str
    version: str
    state: Literal["READY", "UNAVAILABLE"]
    reason: str


class Nothing(msgspec.Struct, frozen=True):
    """It is done."""


class Administration:
    """The endpoints; what takes time is done in threads."""

    def __init__(self, context: Context) -> None:
        self._loader = context.loader
        self._registry = context.registry

    async def load(self, request: Request, wanted: WhichVersion) -> ModelDetails:
        """Load a version from the folder.

        Without a version, the one of the folder that is to serve, which is the pinned or else the highest: it is read,
        verified, and takes the place of the one that serves, while requests that have begun end with the one that they
        began with. Another version is loaded beside it, to be asked for by its number.
        """
        serving = await run_sync(self._loader.load, request.path_params["name"], wanted.version)
        return details_of(serving, self._registry.versions(serving.detector.name))

    async def unload(self, request: Request, wanted: WhichVersion) -> UnloadedVersions:
        """Unload a model.

        With a version, only that one beside the one that serves. The watch does not load it again.
        """
        name = request.path_params["name"]
        return UnloadedVersions(name=name, versions=await run_sync(self._loader.unload, name, wanted.version))

    async def set_rate(self, request: Request, rate: TargetRate) -> ModelDetails:
        """Judge at another target false-positive rate.

        Every threshold of the model is set anew by its own calibration scores, those of groups included; a group that
        has too few has the common one. It holds for versions that are loaded later as well, as far as they can support
        it, until it is taken back or the process ends.
        """
        return await self._rate(request, rate.target_fpr)

    async def reset_rate(self, request: Request) -> ModelDetails:
        """Judge at the artifact's own rate again."""
        return await self._rate(request, None)

    async def _rate(self, request: Request, rate: float | None) -> ModelDetails:
        notes = notes_of(request.scope)
        who = {"token": notes.token, "request_id": notes.request_id}
        serving = await run_sync(self._registry.rate, request.path_params["name"], rate, who)
        return details_of(serving, self._registry.versions(serving.detector.name))

    def example_rate(self) -> dict[str, float]:
        """The rate of the first model that serves."""
        detectors = self._registry.detectors
        return {"target_fpr": detectors[0].calibration.target_fpr if detectors else 0.05}

    async def show_shadow(self, request: Request) -> ShadowInfo:
        """How the version in the shadow compares."""
        return await run_sync(describe_shadow, *self._registry.shadowed(request.path_params["name"]))

    async def put_shadow(self, request: Request, candidate: Candidate) -> ShadowInfo:
        """Put a version in the shadow.

        It judges what the serving version judges, beside the requests, and nobody is answered from it. p-values are
        compared, not scores.
        """
        shadowed = await run_sync(self._loader.cast, request.path_params["name"], candidate.version)
        return await run_sync(describe_shadow, *shadowed)

    async def end_shadow(self, request: Request) -> ShadowInfo:
        """End the shadow.

        The answer is its last comparison.
        """
        return await run_sync(describe_shadow, *await run_sync(self._registry.uncast, request.path_params["name"]))

    async def index(self, _: Request, wanted: IndexRequest) -> list[IndexEntry]:
        """Triton's list of the versions that there are."""
        states = await run_sync(self._loader.states)
        return [
            IndexEntry(state.name, str(state.version), "READY" if state.loaded else "UNAVAILABLE", state.why)
            for state in states
            if state.loaded or not wanted.ready
        ]

    async def load_from_repository(self, request: Request, _: RepositoryRequest) -> Nothing:
        """Triton's call to load a model."""
        await run_sync(self._loader.load, request.path_params["name"])
        return Nothing()

    async def unload_from_repository(self, request: Request, _: RepositoryRequest) -> Nothing:
        """Triton's call to unload a model."""
        await run_sync(self._loader.unload, request.path_params["name"])
        return Nothing()


def administration_routes(context: Context) -> list[Route]:
    """The family."""
    own, admin = Administration(context), Scope.ADMIN
    threshold, shadow = f"{MODEL}/threshold", f"{MODEL}/shadow"
    listed = [
        Route("POST", f"{MODEL}/load", admin, WhichVersion, ModelDetails, own.load, failure=LOAD_FAILED, optional=True),
        Route("POST", f"{MODEL}/unload", admin, WhichVersion, UnloadedVersions, own.unload, optional=True),
        Route(
            *("PUT", threshold, admin, TargetRate, ModelDetails, own.set_rate),
            failure=UNSUPPORTED_RATE,
            request_example=own.example_rate,
        ),
        Route("DELETE", threshold, admin, None, ModelDetails, own.reset_rate),
        Route("GET", shadow, admin, None, ShadowInfo, own.show_shadow),
        Route("PUT", shadow, admin, Candidate, ShadowInfo, own.put_shadow, failure=LOAD_FAILED),
        Route("DELETE", shadow, admin, None, ShadowInfo, own.end_shadow),
        Route("POST", INDEX, admin, IndexRequest, list[IndexEntry], own.index, optional=True),
        Route(
            *("POST", f"{REPOSITORY}/load", admin, RepositoryRequest, Nothing, own.load_from_repository),
            failure=LOAD_FAILED,
            optional=True,
        ),
        Route(
            *("POST", f"{REPOSITORY}/unload", admin, RepositoryRequest, Nothing, own.unload_from_repository),
            optional=True,
        ),
    ]
    return [replace(route, tag="administration", failure=route.failure or REFUSED) for route in listed]
