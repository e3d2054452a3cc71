"""The OpenAPI document says which operations ask for a token."""

from hashlib import sha256

from kilter.service.models.registry import Registry
from kilter.service.monitoring.metrics import Metrics
from kilter.service.protection.auth import Grant, Guard, Keyring, new_secret
from kilter.service.routing import Scope
from kilter.service.settings import Settings
from kilter.service.web.app import create_app
from tests.support.serving import Client, client, detector


def test_operations_that_ask_for_a_token_say_so() -> None:
    """With 401 and 403 in the form of their path; health asks for none, nor what is open to anyone."""
    secret = new_secret()
    token = Grant("all", sha256(secret.encode()).digest(), frozenset(Scope))
    guard = Guard(Keyring([token], frozenset({Scope.METRICS})))
    metrics = Metrics()
    app = create_app(Settings(), Registry(metrics, [detector()]), metrics, guard=guard)
    with Client(app) as http:
        assert http.get("/openapi.json").status_code == http.get("/docs").status_code == 401
        document = http.get("/openapi.json", headers={"Authorization": f"Bearer {secret}"}).json()
    assert document["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    asking = {
        path for path, operations in document["paths"].items() if any("security" in o for o in operations.values())
    }
    assert set(document["paths"]) - asking == {
        "/healthz",
        "/readyz",
        "/metrics",
        "/v2/health/live",
        "/v2/health/ready",
    }
    for path in asking:
        for operation in document["paths"][path].values():
            assert operation["security"] == [{"bearer": []}]
            for status in ("401", "403"):
                (kind,) = operation["responses"][status]["content"]
                assert kind == ("application/json" if path.startswith("/v2") else "application/problem+json")


def test_without_tokens_the_document_says_nothing_of_them() -> None:
    """No scheme and no refusal."""
    with client() as http:
        document = http.get("/openapi.json").json()
    assert "securitySchemes" not in document["components"]
    assert all("401" not in o["responses"] for path in document["paths"].values() for o in path.values())
