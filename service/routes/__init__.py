"""The routes of the service, in families. A family is a function from the context to its routes, and an entry here."""

from collections.abc import Callable

from kilter.service.routes.about import about_routes
from kilter.service.routes.administration import administration_routes
from kilter.service.routes.context import Context
from kilter.service.routes.edit import edit_routes
from kilter.service.routes.generation import generation_routes
from kilter.service.routes.inference.routes import inference_routes
from kilter.service.routes.latent import latent_routes
from kilter.service.routes.models import model_routes
from kilter.service.routes.scoring import scoring_routes
from kilter.service.routes.similar import similar_routes
from kilter.service.routes.streaming import streaming_routes
from kilter.service.routing import Route

FAMILIES: list[Callable[[Context], list[Route]]] = [
    scoring_routes,
    streaming_routes,
    latent_routes,
    generation_routes,
    similar_routes,
    edit_routes,
    model_routes,
    inference_routes,
    administration_routes,
    about_routes,
]
