"""The routes that tell about the models that serve."""

from dataclasses import replace
from datetime import datetime
from typing import Any

import msgspec
from pydantic import BaseModel, Field
from starlette.requests import Request

from kilter.service.detector import Detector
from kilter.service.detector.manifest import choice_in_words
from kilter.service.models.registry import Registry, Serving
from kilter.service.problems import NOT_READY
from kilter.service.routes.context import Context, example_request, find
from kilter.service.routing import Route, Scope

MODEL = "/v1/models/{name}"
VERSION = f"{MODEL}/versions/{{version}}"


class ModelSummary(BaseModel):
    """A model that serves."""

    name: str
    version: int
    columns: int = Field(description="number of fields of a record")
    threshold: float = Field(description="a record whose score is above it is an anomaly")
    target_fpr: float = Field(description="the share of normal records that may be flagged")
    url: str = Field(description="where its details are")


class ModelList(BaseModel):
    """The models that serve, and the names of those that could not be loaded; the service's log says why."""

    models: list[ModelSummary]
    failed: list[str]


class ScoreInfo(BaseModel):
    """Which score it is; the higher, the stranger."""

    name: str
    unit: str


class CalibrationInfo(BaseModel):
    """What the threshold promises: of normal records, at most `upper_fpr` are flagged, with 99.9 % confidence."""

    size: int = Field(description="number n of held-out normal records; the least p-value is 1 / (n + 1)")
    rank: int
    expected_fpr: float
    upper_fpr: float
    split: str
    chosen: str = Field(description="how the target false-positive rate came about")
    group_by: str | None = Field(description="the field by whose value a record may have a threshold of its own")
    groups: dict[str, float] = Field(description="those values with their thresholds; all others have the common one")


class OverrideInfo(BaseModel):
    """What an administrator asked for, and what the artifact says of its own."""

    target_fpr: float = Field(description="the target false-positive rate that was asked for")
    since: datetime
    artifact_target_fpr: float
    artifact_threshold: float


class ModelDetails(ModelSummary):
    """All about a model that serves; its threshold and calibration are those in force."""

    versions: list[int] = Field(description="those that are loaded: the one that serves and those beside it")
    override: OverrideInfo | None = Field(description="null while the artifact's own threshold is in force")
    shadow: int | None = Field(description="the version in its shadow; null where there is none")
    created: str
    device: str
    score: ScoreInfo
    calibration: CalibrationInfo
    schema_: list[dict[str, Any]] = Field(
        alias="schema", description="the fields of a record: kind, and range or levels in the fitting rows"
    )
    left_out: dict[str, str] = Field(description="fields of the training file that are not looked at, and why")
    training: dict[str, Any] = Field(description="provenance: files, rows, settings, losses")
    libraries: dict[str, str]
    example: dict[str, Any] = Field(description="a synthetic body that the score route answers")


def summary_of(detector: Detector) -> ModelSummary:
    """A line about a model."""
    return ModelSummary(
        name=detector.name,
        version=detector.version,
        columns=len(detector.schema.fields),
        threshold=detector.calibration.threshold,
        target_fpr=detector.calibration.target_fpr,
        url=f"/v1/models/{detector.name}",
    )


def details_of(serving: Serving, versions: list[int]) -> ModelDetails:
    """All about a version of a model, of which `versions` are loaded."""
    detector = serving.detector
    manifest, calibration = detector.manifest, detector.calibration
    grouped = manifest.calibration.by_group
    return ModelDetails(
        **summary_of(detector).model_dump(),
        versions=versions,
        override=override_of(serving),
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


def override_of(serving: Serving) -> OverrideInfo | None:
    """What is in force instead of the artifact's own threshold, if anything is."""
    if serving.rate is None:
        return None
    own = serving.own.calibration
    return OverrideInfo(
        target_fpr=serving.rate.target_fpr,
        since=serving.rate.since,
        artifact_target_fpr=own.target_fpr,
        artifact_threshold=own.threshold,
    )


class ModelEndpoints:
    """The endpoints."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def list_models(self, _: Request) -> ModelList:
        """The models that serve."""
        registry = self._registry
        return ModelList(models=list(map(summary_of, registry.detectors)), failed=sorted(registry.failures))

    async def show(self, request: Request) -> ModelDetails:
        """A model, or a version of it."""
        serving = find(self._registry, **request.path_params)
        return details_of(serving, self._registry.versions(serving.detector.name))

    def example(self) -> Any:
        """The details of the first model."""
        for serving in self._registry.all[:1]:
            return details_of(serving, [serving.detector.version]).model_dump(by_alias=True, mode="json")
        return None


def model_routes(context: Context) -> list[Route]:
    """The family."""
    own = ModelEndpoints(context.registry)
    listed = [Route("GET", "/v1/models", Scope.SCORE, None, ModelList, own.list_models, "models")]
    for path in (MODEL, VERSION):
        shown = Route("GET", path, Scope.SCORE, None, ModelDetails, own.show, "models", problems=(NOT_READY,))
        listed.append(replace(shown, response_example=own.example))
    return listed
