"""The application: what it loads when it starts, and that its parts can be given to it."""

import asyncio
from pathlib import Path

from kilter.service.models.registry import Registry
from kilter.service.monitoring.metrics import Metrics
from kilter.service.settings import Settings
from kilter.service.web.app import create_app
from tests.support.serving import Client, detector


def test_the_folder_of_the_settings_is_loaded_at_start(models_folder: Path) -> None:
    """An application that is given no registry makes its own."""
    app = create_app(Settings(models=models_folder, device="cpu"))

    async def start() -> None:
        async with app.app.router.lifespan_context(app.app):
            pass

    asyncio.run(start())
    with Client(app) as http:
        example = http.get("/v1/models/plant").json()["example"]
        assert http.post("/v1/models/plant/score?reasons=true", json=example).status_code == 200


def test_a_given_registry_serves_as_it_is(tmp_path: Path) -> None:
    """Its models, and none of the folder."""
    metrics = Metrics()
    registry = Registry(metrics, [detector()])
    app = create_app(Settings(models=tmp_path / "nothing"), registry, metrics)

    async def start() -> None:
        async with app.app.router.lifespan_context(app.app):
            assert registry.names == ["shop"]

    asyncio.run(start())
    assert registry.names == ["shop"]


def test_every_route_of_every_family_is_there() -> None:
    """Under its method, with the endpoint of the table."""
    app = create_app(Settings(), Registry(Metrics(), [detector()]))
    paths = {(route.method, route.path) for route in app.table.routes}
    assert len(paths) == len(app.table.routes)
    assert {path for _, path in paths} >= {"/", "/docs", "/healthz", "/metrics", "/v1/models/{name}/score", "/v2"}
    with Client(app) as http:
        for method, path in paths:
            answer = http.request(method, path.format(name="shop", version=3))
            assert answer.headers.get("content-type")
            assert answer.status_code != 405
            admin = path.startswith("/v2/repository") or path.rpartition("/")[2] in (
                "load",
                "unload",
                "threshold",
                "shadow",
            )
            stored = path.endswith(("/report", "/card"))  # of a model that lies in no folder
            assert (answer.status_code == 404) == (admin or stored), (method, path)
