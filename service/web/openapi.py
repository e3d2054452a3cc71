"""The OpenAPI document, made from the table of routes for the models that serve just now."""

from inspect import getdoc
from types import FunctionType, GenericAlias, MethodType
from typing import Any, get_args

import msgspec
from pydantic import BaseModel

from kilter import __version__
from kilter.service import problems
from kilter.service.formats import JSON
from kilter.service.problems import ProblemKind
from kilter.service.routes.context import Context
from kilter.service.routing import COMPONENT, Content, Json, Route, RouteTable, Scope
from kilter.service.web.edge import is_protocol, status_of

DESCRIPTION = "Calibrated verdicts on records: a score, a p-value, a flag, and which fields are off."
_OF_A_BODY = (problems.BAD_BODY, problems.TOO_LARGE, problems.WRONG_TYPE, problems.BAD_PARAMETER)


class ProtocolError(msgspec.Struct):
    """Why a request was not answered."""

    error: str


class Document:
    """Describes routes, and collects the schemas to which their descriptions refer."""

    def __init__(self, context: Context) -> None:
        self._registry = context.registry
        self._guard = context.guard
        self._one_port = context.settings.metrics_port is None
        self._schemas: Json = {}

    def describe(self, table: RouteTable) -> Json:
        """Make the document. It lists the administration if there is a token for it, and metrics if they are here."""
        for kind in (problems.ProblemDetails, ProtocolError):
            self._schema(kind)
        paths: Json = {}
        for route in sorted(table.routes, key=lambda route: route.path):
            if route.tag and self._is_here(route):
                paths.setdefault(route.path, {})[route.method.lower()] = self._operation(route)
        document: Json = {
            "openapi": "3.1.0",
            "info": {"title": "Kilter", "description": DESCRIPTION, "version": __version__},
            "paths": paths,
            "components": {"schemas": dict(sorted(self._schemas.items()))},
        }
        if self._guard.closed:
            bearer = {"type": "http", "scheme": "bearer", "description": "A token, which `kilter token` makes."}
            document["components"]["securitySchemes"] = {"bearer": bearer}
        return document

    def _is_here(self, route: Route) -> bool:
        if route.scope is Scope.ADMIN:
            return self._guard.admin
        return route.scope is not Scope.METRICS or self._one_port

    def _operation(self, route: Route) -> Json:
        place = [part.strip("{}") for part in route.path.split("/") if part]
        summary, _, description = _text_of(route.endpoint).partition("\n\n")
        operation: Json = {
            "tags": [route.tag],
            "summary": route.summary or summary.removesuffix("."),
            "operationId": "_".join([route.method.lower(), *place]),
        }
        if description:
            operation["description"] = description.replace("\n", " ")
        parameters = [*self._path_parameters(route), *route.parameters()]
        if parameters:
            operation["parameters"] = parameters
        if route.request is not None:
            body, _ = self._content(route.request)
            if route.request_example is not None:
                body[JSON]["examples"] = {"example": {"value": route.request_example()}}
            operation["requestBody"] = {"required": not route.optional, "content": body}
        answer, headers = self._content(route.response, route.response_example and route.response_example())
        text = route.answer or _text_of(*get_args(route.response) or [route.response]).partition("\n")[0]
        responses: Json = {"200": {"description": text, "content": answer}}
        if headers:
            responses["200"]["headers"] = headers
        operation["responses"] = responses | self._refusals(route)
        if self._is_closed(route):
            operation["security"] = [{"bearer": []}]
        return operation

    def _is_closed(self, route: Route) -> bool:
        return route.scope is not None and self._guard.closed and route.scope not in self._guard.tokens.anyone

    def _path_parameters(self, route: Route) -> list[Json]:
        detectors = self._registry.detectors
        names: Json = {"type": "string", **({"enum": self._registry.names} if detectors else {})}
        kinds = {
            "name": (names, "A model's name."),
            "version": ({"type": "integer", "minimum": 1}, "A version's number."),
        }
        parameters: list[Json] = []
        for name, (schema, text) in kinds.items():
            if f"{{{name}}}" in route.path:
                parameter = {"name": name, "in": "path", "required": True, "schema": schema, "description": text}
                parameters.append(parameter | ({"example": getattr(detectors[0], name)} if detectors else {}))
        return parameters

    def _content(self, kind: Any, example: Any = None) -> tuple[Json, Json]:
        """Describe a body by media type, and headers; collect its schemas."""
        if not isinstance(kind, type | GenericAlias):
            body: Content = kind()
            self._schemas |= body.schemas
            return body.by_media_type, body.headers
        content: Json = {"schema": self._schema(kind)}
        if example is not None:
            content["example"] = example
        return {JSON: content}, {}

    def _schema(self, kind: Any) -> Json:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            schema = kind.model_json_schema(mode="serialization", ref_template=COMPONENT.replace("{name}", "{model}"))
            self._schemas |= schema.pop("$defs", {}) | {kind.__name__: schema}
            return {"$ref": COMPONENT.format(name=kind.__name__)}
        [schema], schemas = msgspec.json.schema_components([kind], ref_template=COMPONENT)
        self._schemas |= schemas
        return schema

    def _refusals(self, route: Route) -> Json:
        """Describe the answers with any other status than 200."""
        kinds: list[ProblemKind] = list(route.problems)
        if isinstance(route.request, type):
            kinds += _OF_A_BODY
        if "{name}" in route.path:
            kinds.append(problems.UNKNOWN_MODEL)
        if route.failure is not None:
            kinds += [problems.REFUSED, route.failure]
        if self._is_closed(route):
            kinds += [problems.UNAUTHORIZED, problems.FORBIDDEN]
        by_status: dict[int, list[ProblemKind]] = {}
        for kind in dict.fromkeys(kinds):
            by_status.setdefault(status_of(kind, route.path), []).append(kind)
        return {str(status): _refusal(route.path, some) for status, some in sorted(by_status.items())}


def _text_of(thing: Any) -> str:
    """The docstring of a function or class, or of the class of another object."""
    return getdoc(thing if isinstance(thing, type | FunctionType | MethodType) else type(thing)) or ""


def _refusal(path: str, kinds: list[ProblemKind]) -> Json:
    description = " ".join(f"{kind.title}." for kind in kinds)
    if is_protocol(path):
        content: Json = {JSON: {"schema": {"$ref": COMPONENT.format(name="ProtocolError")}}}
    else:
        first = kinds[0]
        example = problems.ProblemDetails(f"/docs#{first.slug}", first.title, first.status, first.meaning, [])
        schema = {"$ref": COMPONENT.format(name="ProblemDetails")}
        content = {problems.MEDIA_TYPE: {"schema": schema, "example": msgspec.to_builtins(example)}}
    return {"description": description, "content": content}
