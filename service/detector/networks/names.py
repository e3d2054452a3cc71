"""The names of the scores, and their units."""

from typing import Literal

ScoreName = Literal["neighbours", "elbo", "reconstruction"]

UNITS: dict[ScoreName, str] = {"neighbours": "robust standard units", "elbo": "nats", "reconstruction": "nats"}
