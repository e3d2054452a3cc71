"""A service of a folder of models, and a client that may administrate it."""

from hashlib import sha256
from pathlib import Path
from typing import Any

from kilter.service.models.loading import Loader
from kilter.service.models.registry import Registry
from kilter.service.monitoring.metrics import Metrics
from kilter.service.protection.auth import Grant, Guard, Keyring, new_secret
from kilter.service.routing import Scope
from kilter.service.settings import Settings
from kilter.service.web.app import create_app
from tests.support.serving import Client

SECRET = new_secret()
ADMINISTRATOR = {"Authorization": f"Bearer {SECRET}"}


def guard() -> Guard:
    """Lets the operator do everything, and anybody score and read metrics."""
    token = Grant("operator", sha256(SECRET.encode()).digest(), frozenset(Scope))
    return Guard(Keyring([token], frozenset({Scope.SCORE, Scope.METRICS})))


class Service:
    """A service in this process whose models are those of a folder."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder = folder
        self.settings = Settings(models=folder, device="cpu", **settings)
        self.metrics = Metrics()
        self.registry = Registry(self.metrics, max_versions=self.settings.max_versions)
        self.loader = Loader(self.registry, folder, "cpu")
        self.loader.load_all()
        self.app = create_app(self.settings, self.registry, self.metrics, guard=guard(), loader=self.loader)

    def client(self) -> Client:
        """A client with the operator's token."""
        client = Client(self.app)
        client.http.headers.update(ADMINISTRATOR)
        return client
