"""The routes of the service, in families. A family is a function from the context to its routes, and an entry here."""

from collections.abc import Callable

from kilter.service.routes import administration, models, pages, platform, scoring
from kilter.service.routes.context import Context
from kilter.service.routes.inference import routes as inference
from kilter.service.routing import Route

FAMILIES: list[Callable[[Context], list[Route]]] = [
    scoring.routes,
    models.routes,
    inference.routes,
    administration.routes,
    platform.routes,
    pages.routes,
]
