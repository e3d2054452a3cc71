"""A detector with a column of every kind around a program that is plain arithmetic, and a service that serves it."""

import asyncio
import time
from collections.abc import Awaitable, Sequence
from typing import Any, Self, TypeVar

import httpx
import numpy as np
import numpy.typing as npt
from starlette.types import ASGIApp

from kilter.service.detector import Calibration, Detector, Schema
from kilter.service.detector.arrays import Matrix
from kilter.service.detector.columns import BooleanColumn, CategoricalColumn, NumericColumn, TimestampColumn
from kilter.service.detector.manifest import Probes
from kilter.service.detector.schema import LeftOut
from kilter.service.models.registry import Registry
from kilter.service.monitoring.metrics import Metrics
from kilter.service.settings import Settings
from kilter.service.web.app import create_app
from tests.support.manifests import manifest

T = TypeVar("T")

SCHEMA = Schema(
    columns=(
        NumericColumn("amount", center=50.0, scale=10.0, minimum=20.0, maximum=90.0),
        NumericColumn("items", center=3.0, scale=2.0, minimum=1.0, maximum=9.0, integer=True, missing=4),
        BooleanColumn("member", true=("true",), false=("false",)),
        CategoricalColumn("colour", levels=("red", "blue"), counts=(60, 40)),
        TimestampColumn("at", "iso", ("hour", "weekday")),
    ),
    rows=100,
    left_out=(LeftOut("id", "its values are all different, like an identifier"),),
)
RECORD: dict[str, Any] = {"amount": 52.5, "items": 3, "member": True, "colour": "red", "at": "2024-05-31T08:15:00"}
STRANGE: dict[str, Any] = RECORD | {"amount": 9100.0}


class Squares:
    """A program whose score is the sum of the squared features, a missing one counting 1 and a hidden one nothing."""

    device = "cpu"

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        """How long a call takes."""

    def run(self, x: Matrix, outputs: Sequence[str]) -> list[npt.NDArray[np.float64]]:
        time.sleep(self.seconds)
        squares = np.nan_to_num(x.astype(np.float64), nan=1.0, posinf=0.0) ** 2
        terms = np.column_stack([squares[:, :4], squares[:, 4:].sum(axis=1)])
        score = squares.sum(axis=1)
        made = {
            "score": score,
            "reconstruction": score,
            "kl": np.full(len(x), 0.5),
            "terms": terms,
            "expected": np.zeros_like(squares),
        }
        return [made[name] for name in outputs]


class Broken(Squares):
    """A program that fails, saying what it was given."""

    def run(self, x: Matrix, outputs: Sequence[str]) -> list[npt.NDArray[np.float64]]:
        raise RuntimeError(f"cannot give {outputs} for {x.tolist()}")


def detector(
    name: str = "shop", schema: Schema = SCHEMA, program: Squares | None = None, version: int = 3, size: int = 199
) -> Detector:
    """A detector of `Squares`: scores above 500 are anomalies, at a rate of 0.05, by `size` calibration scores."""
    calibration = Calibration.of(np.linspace(10.0, 510.0, size), 0.05, 6)
    described = manifest(schema, calibration, name=name, version=version, upper_fpr=0.11)
    return Detector(described, program or Squares(), calibration, Probes([RECORD], [], [], []))


class Client:
    """Speaks HTTP with an ASGI application in this process, on an event loop of its own; a context manager."""

    def __init__(self, app: ASGIApp) -> None:
        self._runner = asyncio.Runner()
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        self._http = httpx.AsyncClient(transport=transport, base_url="http://kilter.test")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.run(self._http.aclose())
        self._runner.close()

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        return self._runner.run(self._http.request(method, path, **options))

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.request("GET", path, **options)

    def post(self, path: str, **options: Any) -> httpx.Response:
        return self.request("POST", path, **options)

    def together(self, *requests: Awaitable[T]) -> list[T]:
        """The results of several requests that are made at once."""

        async def gather() -> list[T]:
            return list(await asyncio.gather(*requests))

        return self._runner.run(gather())

    @property
    def http(self) -> httpx.AsyncClient:
        """For requests that are made at once with `together`."""
        return self._http


def client(*detectors: Detector, metrics: Metrics | None = None, **settings: Any) -> Client:
    """A client of a service of the given detectors, of `detector()` where there is none."""
    counted = metrics or Metrics()
    return Client(create_app(Settings(**settings), Registry(counted, detectors or [detector()]), counted))
