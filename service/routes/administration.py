"""The administration: which versions are loaded, the rate that a model judges at, its shadow; and Triton's calls.

The guard lets a request reach it only with a token of the scope admin; without such a token the paths do not exist.
"""

from functools import partial
from typing import Annotated, Any, Literal

import msgspec
from anyio.to_thread import run_sync
from pydantic import BaseModel
from starlette.requests import Request

from kilter.service.detector.manifest import HIGHEST_RATE
from kilter.service.models.shadow import ShadowInfo, describe_shadow
from kilter.service.problems import LOAD_FAILED, REFUSED, UNSUPPORTED_RATE
from kilter.service.request import notes_of
from kilter.service.routes.context import MODEL, Context
from kilter.service.routes.models import ModelState, state_of
from kilter.service.routing import Route, Scope

REPOSITORY = "/v2/repository/models/{name}"
Version = Annotated[int, msgspec.Meta(ge=1, le=999_999_999)]


class WhichVersion(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A version; null stands for the one that serves or, when loading, for the one that is to serve."""

    version: Version | None = None


class TargetRate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The share of normal records that may be flagged."""

    target_fpr: Annotated[float, msgspec.Meta(gt=0, le=HIGHEST_RATE)]


class Candidate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The version to put in the shadow of the one that serves."""

    version: Version


class UnloadedVersions(BaseModel):
    """The versions of a model that were unloaded."""

    name: str
    versions: list[int]


class IndexRequest(msgspec.Struct, frozen=True):
    """Whether to list only the versions that are ready."""

    ready: bool = False


class RepositoryParameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The parameters of loading and unloading; no model here has dependents."""

    unload_dependents: bool | msgspec.UnsetType = msgspec.UNSET


class RepositoryRequest(msgspec.Struct, frozen=True):
    """A request to load or unload; it cannot send a model's files or configuration, which are in the folder."""

    parameters: RepositoryParameters = RepositoryParameters()


class IndexEntry(msgspec.Struct, frozen=True):
    """A version of a model."""

    name: str
    version: str
    state: Literal["READY", "UNAVAILABLE"]
    reason: str


class Acknowledgement(msgspec.Struct, frozen=True):
    """An empty object: the request was carried out."""


def _name(request: Request) -> Any:
    return request.path_params["name"]


def administration_routes(context: Context) -> list[Route]:
    """The routes of the administration; slow work is done in threads."""
    loader, registry = context.loader, context.registry

    async def load(request: Request, wanted: WhichVersion) -> ModelState:
        """Load a version from the folder.

        Without a version, the one that is to serve is loaded: the pinned one, or else the highest in the folder. It is
        read, verified, and takes the place of the one that serves; requests that have begun end with the version that
        they began with. Another version is loaded beside the one that serves, and answers under its number.
        """
        return state_of(await run_sync(loader.load, _name(request), wanted.version), registry)

    async def unload(request: Request, wanted: WhichVersion) -> UnloadedVersions:
        """Unload a model.

        With a version, only that one beside the one that serves. The watch on the folder does not load it again.
        """
        versions = await run_sync(loader.unload, _name(request), wanted.version)
        return UnloadedVersions(name=_name(request), versions=versions)

    async def set_rate(request: Request, rate: TargetRate | None = None) -> ModelState:
        """Judge at another target false-positive rate.

        Every threshold of the model, those of groups included, is set anew by its own calibration scores; a group that
        has too few of them gets the common threshold. The rate also holds for versions that are loaded later, as far as
        they can support it, until it is deleted or the process ends.
        """
        notes = notes_of(request.scope)
        who = {"token": notes.token, "request_id": notes.request_id}
        target_fpr = None if rate is None else rate.target_fpr
        return state_of(await run_sync(registry.rate, _name(request), target_fpr, who), registry)

    async def reset_rate(request: Request) -> ModelState:
        """Judge at the artifact's own rate again."""
        return await set_rate(request)

    def example_rate() -> dict[str, float]:
        return {"target_fpr": next((d.calibration.target_fpr for d in registry.detectors), 0.05)}

    async def show_shadow(request: Request) -> ShadowInfo:
        """Compare the version in the shadow with the one that serves."""
        return await run_sync(describe_shadow, *registry.shadowed(_name(request)))

    async def put_shadow(request: Request, candidate: Candidate) -> ShadowInfo:
        """Put a version in the shadow.

        Beside the requests, it judges the records that the serving version judges, and nobody is answered from it. The
        p-values of the two versions are compared, not their scores.
        """
        return await run_sync(describe_shadow, *await run_sync(loader.cast, _name(request), candidate.version))

    async def end_shadow(request: Request) -> ShadowInfo:
        """End the shadow.

        The answer is its last comparison.
        """
        return await run_sync(describe_shadow, *await run_sync(registry.uncast, _name(request)))

    async def index(_: Request, wanted: IndexRequest) -> list[IndexEntry]:
        """List every version, in Triton's form."""
        states = await run_sync(loader.states)
        return [
            IndexEntry(state.name, str(state.version), "READY" if state.loaded else "UNAVAILABLE", state.why)
            for state in states
            if state.loaded or not wanted.ready
        ]

    async def load_from_repository(request: Request, _: RepositoryRequest) -> Acknowledgement:
        """Load a model, by Triton's call."""
        await run_sync(loader.load, _name(request))
        return Acknowledgement()

    async def unload_from_repository(request: Request, _: RepositoryRequest) -> Acknowledgement:
        """Unload a model, by Triton's call."""
        await run_sync(loader.unload, _name(request))
        return Acknowledgement()

    route = partial(Route, scope=Scope.ADMIN, tag="administration", failure=REFUSED)
    loading = partial(route, "POST", request=WhichVersion, optional=True)
    shadow = partial(route, path=f"{MODEL}/shadow", response=ShadowInfo)
    triton = partial(route, "POST", request=RepositoryRequest, response=Acknowledgement, optional=True)
    threshold = partial(route, path=f"{MODEL}/threshold", response=ModelState)
    rate = {"failure": UNSUPPORTED_RATE, "request_example": example_rate}
    return [
        loading(f"{MODEL}/load", response=ModelState, endpoint=load, failure=LOAD_FAILED),
        loading(f"{MODEL}/unload", response=UnloadedVersions, endpoint=unload),
        threshold("PUT", request=TargetRate, endpoint=set_rate, **rate),
        threshold("DELETE", request=None, endpoint=reset_rate),
        shadow("GET", request=None, endpoint=show_shadow),
        shadow("PUT", request=Candidate, endpoint=put_shadow, failure=LOAD_FAILED),
        shadow("DELETE", request=None, endpoint=end_shadow),
        triton("/v2/repository/index", request=IndexRequest, response=list[IndexEntry], endpoint=index),
        triton(f"{REPOSITORY}/load", endpoint=load_from_repository, failure=LOAD_FAILED),
        triton(f"{REPOSITORY}/unload", endpoint=unload_from_repository),
    ]
