"""The server takes the fast lane where that was tried, and serves plainly otherwise."""

import logging
import sys

import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from kilter.service.models.registry import Registry
from kilter.service.monitoring.metrics import Metrics
from kilter.service.server import choose_protocol, configure
from kilter.service.settings import Settings
from kilter.service.upgrades import UpgradeBlindProtocol
from kilter.service.web.app import create_app
from tests.support.serving import Client, detector


@pytest.fixture(params=["another release", "no such folder"])
def plain(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> type:
    """The protocol of a service without the fast lane's folder, or on a uvicorn that was not tested."""
    if request.param == "no such folder":
        monkeypatch.setitem(sys.modules, "kilter.service.fastlane", None)
        monkeypatch.delattr("kilter.service.fastlane", raising=False)
        return UpgradeBlindProtocol
    monkeypatch.setattr("kilter.service.server.TESTED", {})
    return HttpToolsProtocol


def test_without_the_fast_lane_it_serves_plainly(plain: type, caplog: pytest.LogCaptureFixture) -> None:
    """With one line in the log, and a field of readiness that says so."""
    metrics = Metrics()
    app = create_app(Settings(), Registry(metrics, [detector()]), metrics)
    with caplog.at_level(logging.INFO):
        config = configure(app, Settings())
    config.load()
    assert config.http_protocol_class is plain
    assert [record.message for record in caplog.records] == ["served plainly"]
    with Client(app) as http:
        assert http.get("/readyz").json()["fast_lane"] is False


def test_readiness_says_whether_there_is_a_fast_lane() -> None:
    """As the server found when it was configured."""
    metrics = Metrics()
    app = create_app(Settings(), Registry(metrics, [detector()]), metrics)
    configure(app, Settings()).load()
    with Client(app) as http:
        assert http.get("/readyz").json()["fast_lane"] is (choose_protocol() is not None)
