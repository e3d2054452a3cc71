"""The routes of the service, in families. A family is a function from the context to its routes, and an entry here."""

from collections.abc import Callable

from kilter.service.routes import administration, models, pages, platform, scoring
from kilter.service.routes.context import Context
from kilter.service.routes.inference.routes import inference_routes
from kilter.service.routing import Route

FAMILIES: list[Callable[[Context], list[Route]]] = [
    scoring.scoring_routes,
    models.model_routes,
    inference_routes,
    administration.administration_routes,
    platform.platform_routes,
    pages.page_routes,
]
