"""Parts of the OpenAPI document that several operations share."""

from typing import Any

from kilter.service import problems
from kilter.service.models.registry import Registry

Json = dict[str, Any]
COMPONENT = "#/components/schemas/{name}"


def model_name(registry: Registry) -> Json:
    """The parameter that names a model."""
    schema: Json = {"type": "string"}
    if registry.names:
        schema["enum"] = registry.names
    parameter = {"name": "name", "in": "path", "required": True, "schema": schema, "description": "a model's name"}
    return parameter | ({"example": registry.names[0]} if registry.names else {})


def model_version(registry: Registry) -> Json:
    """The parameter that names a version."""
    parameter = {
        "name": "version",
        "in": "path",
        "required": True,
        "schema": {"type": "integer", "minimum": 1},
        "description": "a version's number",
    }
    return parameter | ({"example": registry.detectors[0].version} if registry.names else {})


def problem(description: str, kind: problems.Kind) -> Json:
    """A response that tells of a problem."""
    example = {"type": f"/docs#{kind.slug}", "title": kind.title, "status": kind.status, "detail": kind.meaning}
    content = {"schema": {"$ref": COMPONENT.format(name="Details")}, "example": example | {"problems": []}}
    return {"description": description, "content": {problems.MEDIA_TYPE: content}}
