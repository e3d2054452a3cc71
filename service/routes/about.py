"""The routes about the service itself: health, readiness and metrics for the platform, pages and OpenAPI for people.

A page is one file that needs nothing from elsewhere.
"""

import json
import shlex
from base64 import b64encode
from dataclasses import replace
from functools import partial
from hashlib import sha256
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from anyio.to_thread import run_sync
from prometheus_client.exposition import choose_encoder
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from kilter import __version__
from kilter.service.detector import Detector
from kilter.service.formats import encodings
from kilter.service.models.registry import Registry
from kilter.service.problems import KINDS, NOT_FOUND, NOT_READY, RequestError
from kilter.service.routes.context import Context, example_request, find
from kilter.service.routes.models import summary_of
from kilter.service.routes.scoring import SCORE
from kilter.service.routing import Content, Route, Scope

METRICS = "/metrics"
REPORT, CARD = "report.html", "MODEL_CARD.md"

_TEMPLATES = {path.name: path.read_text() for path in (Path(__file__).parent / "templates").iterdir()}
_STYLE, _SEND = _TEMPLATES["page.css"], _TEMPLATES["send.js"]


def _digest(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


HEADERS = {
    "Content-Security-Policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    f"connect-src 'self'; style-src {_digest(_STYLE)}; script-src {_digest(_SEND)}",
    "Referrer-Policy": "no-referrer",
}
"""Of every page: it runs its own style and script alone, nobody frames it, and it sends to this service alone."""


HARMLESS = {
    "Content-Security-Policy": "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""Of what an artifact brings along: it is shown as of no origin, runs nothing, and reaches nothing."""


class Health(BaseModel):
    """The process answers."""

    live: bool = True


class Ready(BaseModel):
    """The models that serve, by name, with their versions."""

    ready: bool = True
    models: dict[str, int]
    fast_lane: bool = Field(description="whether requests take the fast lane; not every release of uvicorn allows it")


def render_home(registry: Registry, base: str, *, metrics: bool = True) -> str:
    """Render the front page: what serves, and a request to each; `metrics` says whether they are at this address."""
    rows = "".join(
        f'<tr><td><a href="models/{escape(m.name)}">{escape(m.name)}</a></td><td>{m.version}</td><td>{m.columns}</td>'
        f"<td>{m.threshold:.6g}</td><td>{m.target_fpr:g}</td></tr>"
        for m in map(summary_of, registry.detectors)
    )
    table = f"<table><tr><th>model<th>version<th>fields<th>threshold<th>target rate</tr>{rows}</table>"
    not_ready = f"<p><strong>Not ready:</strong></p><pre>{escape(registry.why_not_ready or '')}</pre>"
    failed = "".join(f"<li>{escape(name)}</li>" for name in sorted(registry.failures))
    commands = ((escape(d.name), escape(curl_command(d, base))) for d in registry.detectors)
    body = _fill(
        "home.html",
        models=table if rows else not_ready,
        failed=f"<p>Not loaded, the log says why:</p><ul>{failed}</ul>" if failed else "",
        metrics='<a href="metrics">Metrics</a> · ' if metrics else "",
        examples="\n".join(f"<h2>Ask {name}</h2><pre>{command}</pre>" for name, command in commands),
    )
    return _fill("page.html", title="Kilter", style=_STYLE, body=body, version=__version__)


def render_model(detector: Detector, base: str) -> str:
    """Render the page of a model: its promise, its fields, and where its report and its card are."""
    manifest, calibration = detector.manifest, detector.calibration
    facts = {
        "score": f"{manifest.score.name}, in {manifest.score.unit}",
        "flags scores above": f"{calibration.threshold:.6g}",
        "target false-positive rate": f"{calibration.target_fpr:g}",
        "at most, with 99.9 % certainty": f"{manifest.calibration.upper_fpr:.4g}",
        "calibrated on": f"{calibration.size:,} records",
        "made": manifest.created,
    }
    fields = [(column.name, column.kind, column.describe()) for column in detector.schema.fields]
    fields += [(column.name, "left out", column.reason) for column in detector.schema.left_out]
    name = escape(detector.name)
    body = _fill(
        "model.html",
        name=name,
        version=str(detector.version),
        facts="".join(f"<tr><td>{escape(what)}</td><td>{escape(value)}</td></tr>" for what, value in facts.items()),
        fields="".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in field)}</tr>" for field in fields),
        example=escape(curl_command(detector, base)),
    )
    return _fill("page.html", title=f"{name}, version {detector.version}", style=_STYLE, body=body, version=__version__)


def _stored(context: Context, detector: Detector, name: str) -> bytes:
    """A document of the version that serves. Raises RequestError if it is not there any more."""
    place = context.loader.folder / detector.name / str(detector.version) / name
    try:
        return place.read_bytes()
    except OSError:
        text = f"version {detector.version} of {detector.name} has no {name} in the models folder"
        raise RequestError(NOT_FOUND, text) from None


def render_docs(document: dict[str, Any], base: str) -> str:
    """Render the documentation: every operation of an OpenAPI document, with its example ready to be sent."""
    operations = "\n".join(
        _operation(path, method.upper(), operation, base)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    )
    kinds = "".join(
        f'<tr id="{kind.slug}"><td><code>{kind.slug}</code></td><td>{kind.status}</td><td>{escape(kind.title)}. '
        f"{escape(kind.meaning)}</td></tr>"
        for kind in KINDS
    )
    schemas = "".join(
        f"<details><summary><code>{escape(name)}</code></summary><pre>{_json(schema)}</pre></details>"
        for name, schema in document["components"]["schemas"].items()
    )
    description = escape(document["info"]["description"])
    body = _fill("docs.html", description=description, operations=operations, kinds=kinds, schemas=schemas, send=_SEND)
    return _fill("page.html", title="Kilter: the HTTP API", style=_STYLE, body=body, version=__version__)


def curl_command(detector: Detector, base: str) -> str:
    """A command that scores the model's example."""
    body = shlex.quote(json.dumps(example_request(detector), ensure_ascii=False))
    url = shlex.quote(base.rstrip("/") + SCORE.format(name=detector.name) + "?reasons=true")
    return f"curl {url} \\\n  -H 'Content-Type: application/json' \\\n  -d {body}"


def _operation(path: str, method: str, operation: dict[str, Any], base: str) -> str:
    url = path
    for parameter in operation.get("parameters", ()):
        if parameter["in"] == "path" and "example" in parameter:
            url = url.replace(f"{{{parameter['name']}}}", str(parameter["example"]))
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    example = next((example["value"] for example in content.get("examples", {}).values()), None)
    box = f'<textarea rows="10" spellcheck="false">{_json(example)}</textarea>' if example is not None else ""
    answers = "".join(
        f"<tr><td>{escape(status)}</td><td>{escape(answer['description'])}</td></tr>"
        for status, answer in operation["responses"].items()
    )
    parameters = "".join(
        f"<tr><td><code>{escape(one['name'])}</code>, {one['in']}</td>"
        f"<td>{escape(one.get('description', ''))}</td></tr>"
        for one in operation.get("parameters", ())
    )
    texts = {"base": base, "method": method, "path": path, "summary": operation["summary"], "url": url[1:]}
    description = f"<p>{escape(operation['description'])}</p>" if "description" in operation else ""
    escaped = {name: escape(text) for name, text in texts.items()}
    return _fill("operation.html", **escaped, description=description, body=box, parameters=parameters, answers=answers)


def _json(value: Any) -> str:
    return escape(json.dumps(value, indent=2, ensure_ascii=False))


def _fill(template: str, **values: str) -> str:
    return Template(_TEMPLATES[template]).substitute(values)


def about_routes(context: Context) -> list[Route]:
    """The routes of the platform, and the pages, which the OpenAPI document does not list."""
    registry = context.registry
    one_port = context.settings.metrics_port is None

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
        """Metrics in the text format of Prometheus."""
        context.ledger.settle()
        encode, media_type = choose_encoder(request.headers.get("accept", ""))
        content = encode(context.metrics.registry)
        headers = {"content-type": media_type, "vary": "accept, accept-encoding"}
        coding = encodings.chosen(request.headers.get("accept-encoding", ""), ("gzip",))
        if coding and len(content) >= encodings.PAYS:
            content = await context.engine.run(encodings.compress, content, coding)
            headers["content-encoding"] = coding
        return Response(content, headers=headers)

    async def show_home(request: Request) -> HTMLResponse:
        page = render_home(registry, str(request.base_url), metrics=one_port)
        return HTMLResponse(page, headers=HEADERS)

    async def show_model(request: Request) -> HTMLResponse:
        serving = find(registry, **request.path_params)
        return HTMLResponse(render_model(serving.detector, str(request.base_url)), headers=HEADERS)

    async def show_report(request: Request) -> Response:
        detector = find(registry, **request.path_params).detector
        return Response(await run_sync(_stored, context, detector, REPORT), media_type="text/html", headers=HARMLESS)

    async def show_card(request: Request) -> Response:
        detector = find(registry, **request.path_params).detector
        return Response(await run_sync(_stored, context, detector, CARD), media_type="text/plain", headers=HARMLESS)

    async def show_docs(request: Request) -> HTMLResponse:
        return HTMLResponse(render_docs(request.app.state.document(), str(request.base_url)), headers=HEADERS)

    async def show_document(request: Request) -> Any:
        return request.app.state.document()

    text = {"schema": {"type": "string"}}
    exposition = Content({"text/plain": text, "application/openmetrics-text": text})
    route = partial(Route, "GET", request=None)
    platform, page = partial(route, tag="platform"), partial(route, scope=Scope.SCORE, response=None)
    routes = [
        platform("/healthz", scope=None, response=Health, endpoint=health),
        platform("/readyz", scope=None, response=Ready, endpoint=ready, problems=(NOT_READY,)),
        platform(METRICS, Scope.METRICS, response=lambda: exposition, endpoint=metrics, answer="The metrics."),
    ]
    return [
        *routes,
        *(replace(route, method="HEAD", tag="") for route in routes),
        page("/", endpoint=show_home),
        page("/models/{name}", endpoint=show_model),
        page("/models/{name}/report", endpoint=show_report),
        page("/models/{name}/card", endpoint=show_card),
        page("/docs", endpoint=show_docs),
        page("/openapi.json", endpoint=show_document),
    ]
