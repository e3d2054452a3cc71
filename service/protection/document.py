"""What the OpenAPI document says of tokens: which operations ask for one, and what is answered without it."""

from typing import Any

from kilter.service import problems
from kilter.service.bodies.body import JSON
from kilter.service.protection.auth import needed
from kilter.service.protection.tokens import Tokens
from kilter.service.web.openapi_parts import COMPONENT, Json, problem

_BEARER: Json = {"type": "http", "scheme": "bearer", "description": "A token, which `kilter token` makes."}


def secured(document: Json, tokens: Tokens) -> Json:
    """The document, with what the tokens that are known mean for its operations; unchanged where none is asked for."""
    if not tokens.names:
        return document
    document["components"].setdefault("securitySchemes", {})["bearer"] = _BEARER
    for path, operations in document["paths"].items():
        wanted = needed(path)
        if wanted is None or wanted in tokens.anyone:
            continue
        for operation in operations.values():
            operation["security"] = [{"bearer": []}]
            operation["responses"] |= {
                "401": _refusal(path, "A token is needed.", problems.UNAUTHORIZED),
                "403": _refusal(path, f"The token lacks the scope {wanted}.", problems.FORBIDDEN),
            }
            operation["responses"] = dict(sorted(operation["responses"].items()))
    return document


def _refusal(path: str, description: str, kind: problems.Kind) -> dict[str, Any]:
    if not path.startswith("/v2"):
        return problem(description, kind)
    return {"description": description, "content": {JSON: {"schema": {"$ref": COMPONENT.format(name="ProtocolError")}}}}
