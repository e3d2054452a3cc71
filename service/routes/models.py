"""The routes that tell which models serve, and all about each of them."""

from datetime import datetime
from functools import partial
from typing import Any

import msgspec
from pydantic import BaseModel, Field
from starlette.requests import Request

from kilter.service.detector import Detector
from kilter.service.detector.manifest import choice_in_words
from kilter.service.models.registry import Registry, Serving
from kilter.service.problems import NOT_READY
from kilter.service.routes.context import MODEL, Context, example_request, find
from kilter.service.routing import Route, Scope


class ModelSummary(BaseModel):
    """A model that serves."""

    name: str
    version: int
    columns: int = Field(description="number of fields of a record")
    threshold: float = Field(description="a record whose score is above it is an anomaly")
    target_fpr: float = Field(description="the share of normal records that may be flagged")
    url: str = Field(description="where its details are")


class ModelList(BaseModel):
    """The models that serve, and the names of those that could not be loaded: the service's log says why."""

    models: list[ModelSummary]
    failed: list[str]


class ScoreInfo(BaseModel):
    """The kind of score; the higher a score, the stranger the record."""

    name: str
    unit: str


class CalibrationInfo(BaseModel):
    """The promise of the threshold: with 99.9 % confidence, at most `upper_fpr` of normal records are flagged."""

    size: int = Field(description="number n of held-out normal records; the lowest p-value is 1 / (n + 1)")
    rank: int
    expected_fpr: float
    upper_fpr: float
    split: str
    chosen: str = Field(description="how the target false-positive rate came about")
    group_by: str | None = Field(description="the field whose value decides which threshold a record has")
    groups: dict[str, float] = Field(
        description="thresholds by values of that field; all other values have the common one"
    )


class OverrideInfo(BaseModel):
    """The rate that an administrator set, beside the artifact's own."""

    target_fpr: float = Field(description="the target false-positive rate that was set")
    since: datetime
    artifact_target_fpr: float
    artifact_threshold: float


class ModelState(ModelSummary):
    """A model after a change: what can have changed of it. `GET /v1/models/{name}` tells the rest."""

    versions: list[int] = Field(description="the loaded versions: the one that serves and those beside it")
    override: OverrideInfo | None = Field(description="null while the artifact's own threshold is in force")


class ModelDetails(ModelState):
    """A model that serves, in full; its threshold and calibration are those in force."""

    shadow: int | None = Field(description="the version in its shadow; null if there is none")
    created: str
    device: str
    score: ScoreInfo
    calibration: CalibrationInfo
    schema_: list[dict[str, Any]] = Field(
        alias="schema", description="the fields of a record: kind, and range or levels in the fitting rows"
    )
    left_out: dict[str, str] = Field(description="fields of the training file that the model ignores, and why")
    training: dict[str, Any] = Field(description="provenance: files, rows, settings, losses")
    libraries: dict[str, str]
    example: dict[str, Any] = Field(description="a synthetic body that the score route answers")


def summary_of(detector: Detector) -> ModelSummary:
    """Summarise a model, as the list and the front page show it."""
    return ModelSummary(
        name=detector.name,
        version=detector.version,
        columns=len(detector.schema.fields),
        threshold=detector.calibration.threshold,
        target_fpr=detector.calibration.target_fpr,
        url=MODEL.format(name=detector.name),
    )


def state_of(serving: Serving, registry: Registry) -> ModelState:
    """Describe what an administrator can change of a version of a model."""
    detector, override = serving.detector, None
    if serving.rate is not None:
        own, rate = serving.own.calibration, serving.rate
        override = OverrideInfo(
            target_fpr=rate.target_fpr,
            since=rate.since,
            artifact_target_fpr=own.target_fpr,
            artifact_threshold=own.threshold,
        )
    return ModelState(**summary_of(detector).model_dump(), versions=registry.versions(detector.name), override=override)


def details_of(serving: Serving, registry: Registry) -> ModelDetails:
    """Describe a version of a model in full."""
    detector = serving.detector
    manifest, calibration = detector.manifest, detector.calibration
    grouped = manifest.calibration.by_group
    return ModelDetails(
        **state_of(serving, registry).model_dump(),
        shadow=None if serving.shadow is None else serving.shadow.candidate.version,
        created=manifest.created,
        device=detector.device,
        score=ScoreInfo(name=manifest.score.name, unit=manifest.score.unit),
        calibration=CalibrationInfo(
            size=calibration.size,
            rank=calibration.rank,
            expected_fpr=calibration.expected_fpr,
            upper_fpr=manifest.calibration.upper_fpr,
            split=manifest.calibration.split,
            chosen=choice_in_words(manifest.calibration.chosen, calibration.size),
            group_by=None if grouped is None else grouped.column,
            groups={} if grouped is None else {group.value: group.threshold for group in grouped.groups},
        ),
        schema=[msgspec.to_builtins(column) for column in detector.schema.fields],
        left_out={column.name: column.reason for column in detector.schema.left_out},
        training=msgspec.to_builtins(manifest.training),
        libraries=manifest.libraries,
        example=example_request(detector),
    )


def model_routes(context: Context) -> list[Route]:
    """The routes that tell about models."""
    registry = context.registry

    async def list_models(_: Request) -> ModelList:
        """The models that serve."""
        return ModelList(models=list(map(summary_of, registry.detectors)), failed=sorted(registry.failures))

    async def show(request: Request) -> ModelDetails:
        """A model, or a version of it."""
        return details_of(find(registry, **request.path_params), registry)

    def example() -> Any:
        serving = next(iter(registry.all), None)
        return serving and details_of(serving, registry).model_dump(by_alias=True, mode="json")

    route = partial(Route, "GET", scope=Scope.SCORE, request=None, tag="models")
    shown = partial(route, response=ModelDetails, endpoint=show, problems=(NOT_READY,), response_example=example)
    listed = route(path="/v1/models", response=ModelList, endpoint=list_models)
    return [listed, shown(path=MODEL), shown(path=f"{MODEL}/versions/{{version}}")]
