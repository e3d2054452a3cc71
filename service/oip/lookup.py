"""The model and version that a path names."""

import re
from collections.abc import Mapping

from service import scoring
from service.problems import UNKNOWN_MODEL, RequestError
from service.registry import Registry, Serving

VERSION = re.compile(r"[1-9][0-9]{0,17}")


def find(registry: Registry, path: Mapping[str, str]) -> Serving:
    """The model `name`: its version `version` if there is one in the path, else that which serves. Raises RequestError."""
    name, stated = path["name"], path.get("version")
    if stated is None:
        return scoring.find(registry, name)
    serving = registry.get(name, int(stated)) if VERSION.fullmatch(stated) else None
    if serving is None:
        scoring.find(registry, name)
        there = ", ".join(map(str, registry.versions(name)))
        told = f"there is no version {stated[:20]!r} of the model {name!r} here; there is {there}"
        raise RequestError(UNKNOWN_MODEL, told)
    return serving
