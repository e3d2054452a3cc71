"""The model and version that a path names."""

import re
from collections.abc import Mapping

from service import scoring
from service.problems import UNKNOWN_MODEL, RequestError
from service.registry import Registry, Serving

VERSION = re.compile(r"[1-9][0-9]{0,17}")


def find(registry: Registry, path: Mapping[str, str]) -> Serving:
    """The model `name` that serves, in its version `version` if there is one in the path. Raises RequestError."""
    name, stated = path["name"], path.get("version")
    current = scoring.find(registry, name)
    if stated is None:
        return current
    serving = registry.get(name, int(stated)) if VERSION.fullmatch(stated) else None
    if serving is None:
        told = (
            f"there is no version {stated[:20]!r} of the model {name!r} here; version {current.detector.version} serves"
        )
        raise RequestError(UNKNOWN_MODEL, told)
    return serving
