"""Tokens at the edge: who is let in where, what the others are told, and how the file is taken up while serving."""

import asyncio
import json
import logging
import os
import re
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from kilter.service.commands.token import token_command
from kilter.service.detector import KilterError
from kilter.service.models.registry import Registry
from kilter.service.monitoring.metrics import Metrics
from kilter.service.problems import RequestError
from kilter.service.protection.auth import Grant, Guard, Keyring, administrator, guard_of, new_secret, token_line
from kilter.service.request import Notes, notes_of
from kilter.service.routing import Scope
from kilter.service.settings import Settings
from kilter.service.web.app import create_app
from tests.support.logs import kept
from tests.support.serving import RECORD, Client, client, detector

SECRETS = {scope: new_secret() for scope in Scope}
LOAD = "/v1/models/shop/load"
SCORE = "/v1/models/shop/score"


def token(scope: Scope) -> Grant:
    """The token that may be used for one thing, of its name."""
    found = tokens_file_line(scope)
    return Grant(f"the-{scope}", bytes.fromhex(found.partition("sha256:")[2]), frozenset({scope}))


def tokens_file_line(scope: Scope) -> str:
    """Its line in a file."""
    return token_line(f"the-{scope}", [scope], SECRETS[scope])


def guarded(*scopes: Scope, anyone: frozenset[Scope] = frozenset()) -> Client:
    """A service that knows a token for each of some scopes."""
    guard = Guard(Keyring([token(scope) for scope in scopes], anyone))
    metrics = Metrics()
    return Client(create_app(Settings(), Registry(metrics, [detector()]), metrics, guard=guard))


def needed(path: str) -> Scope | None:
    """The scope of which a token is needed for a path, by the table of a service's routes."""
    match = create_app(Settings(), Registry(Metrics())).table.match(path)
    return Scope.SCORE if match is None else next(iter(match.routes.values())).scope


def bearer(scope: Scope) -> dict[str, Any]:
    """The options of a request with that scope's token."""
    return {"headers": {"Authorization": f"Bearer {SECRETS[scope]}"}}


def scope_of(path: str, authorization: str | None = None, **more: Any) -> dict[str, Any]:
    """The ASGI scope of a request."""
    headers = [] if authorization is None else [(b"authorization", authorization.encode("latin-1"))]
    return {"type": "http", "method": "POST", "path": path, "headers": headers, **more}


def test_without_tokens_all_but_the_administration_is_open() -> None:
    """The administration is not there, whatever token comes, and says what it needs."""
    with client() as http:
        assert http.post(SCORE, json=RECORD).status_code == http.get("/metrics").status_code == 200
        for path in (LOAD, "/v1/models/shop/unload", "/v1/models/shop/threshold", "/v2/repository/index"):
            for options in ({}, bearer(Scope.ADMIN)):
                answer = http.post(path, **options)
                assert answer.status_code == 404
                told = answer.json().get("detail") or answer.json()["error"]
                assert told == (
                    "the administration is there only where a token has the scope admin: add the line of "
                    "`kilter token NAME --scope admin` to a file that KILTER_TOKENS_FILE names"
                )


@pytest.mark.parametrize(
    ("path", "scope"),
    [
        (SCORE, Scope.SCORE),
        ("/v2/models/shop/infer", Scope.SCORE),
        ("/v1/models", Scope.SCORE),
        ("/", Scope.SCORE),
        ("/docs", Scope.SCORE),
        ("/openapi.json", Scope.SCORE),
        ("/nowhere", Scope.SCORE),
        ("/metrics", Scope.METRICS),
        ("/metrics/", Scope.SCORE),
        (LOAD, Scope.ADMIN),
        ("/v1/models/shop/unload", Scope.ADMIN),
        ("/v1/models/shop/threshold", Scope.ADMIN),
        ("/v1/models/shop/shadow", Scope.ADMIN),
        ("/v1/models/shop/versions/3/load", Scope.SCORE),
        ("/v2/repository/models/shop/load", Scope.ADMIN),
        ("/v1/models/load", Scope.SCORE),
        ("/healthz", None),
        ("/readyz", None),
        ("/v2/health/live", None),
        ("/v2/health/ready", None),
    ],
)
def test_each_path_needs_its_scope(path: str, scope: Scope | None) -> None:
    """Health is open; pages and what is not there need the scope of scoring."""
    assert needed(path) == scope
    assert scope is None or _status(path) == 401
    for other in Scope:
        assert _status(path, f"Bearer {SECRETS[other]}") == (200 if scope in (None, other) else 403)
        assert _status(f"/prefix{path}", f"Bearer {SECRETS[other]}", root_path="/prefix") == (
            200 if scope in (None, other) else 403
        )


def test_every_route_of_the_administration_is_taken_for_one() -> None:
    """And no other: each operation of the document that is tagged so is refused to whoever may only score."""
    everything = Guard(Keyring([token(scope) for scope in Scope]))
    metrics = Metrics()
    with Client(create_app(Settings(), Registry(metrics, [detector()]), metrics, guard=everything)) as http:
        document = http.get("/openapi.json", **bearer(Scope.SCORE)).json()
        found = {
            path.format(name="shop", version=3): "administration" in operation["tags"]
            for path, operations in document["paths"].items()
            for operation in operations.values()
        }
        assert {path for path, administration in found.items() if administration} == {
            path for path in found if needed(path) is Scope.ADMIN
        }
        assert sum(found.values()) >= 4
        for path in (path for path, administration in found.items() if administration):
            assert http.post(path, **bearer(Scope.SCORE)).status_code == 403
            assert http.post(path, **bearer(Scope.ADMIN)).status_code not in (401, 403, 500)


def _status(path: str, authorization: str | None = None, **more: Any) -> int:
    """What a guard that knows a token for each scope answers; 200 if it lets the request pass."""
    try:
        wanted = needed(path.removeprefix(more.get("root_path", "")))
        Guard(Keyring([token(scope) for scope in Scope])).check(scope_of(path, authorization, **more), wanted)
    except RequestError as refused:
        return refused.kind.status
    return 200


def test_who_is_refused_is_told_what_to_do() -> None:
    """401 without a known token, 403 without the scope, each with WWW-Authenticate, as a problem."""
    with guarded(Scope.SCORE, Scope.METRICS) as http:
        assert http.post(SCORE, json=RECORD, **bearer(Scope.SCORE)).status_code == 200
        answers = [
            http.post(SCORE, json=RECORD),
            http.post(SCORE, json=RECORD, **bearer(Scope.ADMIN)),
            http.post(SCORE, json=RECORD, **bearer(Scope.METRICS)),
        ]
        assert http.get("/healthz").status_code == http.get("/readyz").status_code == 200
        assert http.post(LOAD, **bearer(Scope.SCORE)).status_code == 404
    assert [answer.status_code for answer in answers] == [401, 401, 403]
    assert [answer.headers["www-authenticate"] for answer in answers] == [
        'Bearer realm="kilter", scope="score"',
        'Bearer realm="kilter", error="invalid_token", scope="score"',
        'Bearer realm="kilter", error="insufficient_scope", scope="score"',
    ]
    assert {answer.headers["content-type"] for answer in answers} == {"application/problem+json"}
    remedy = "`kilter token NAME --scope score` makes one"
    send = f"send Authorization: Bearer TOKEN; {remedy} for the file of KILTER_TOKENS_FILE"
    assert [answer.json()["detail"] for answer in answers] == [
        f"a token with the scope score is needed: {send}",
        f"the token is none of this service's: {send}",
        f"the token the-metrics lacks the scope score, which {SCORE} needs: {remedy} that has it",
    ]


@pytest.mark.parametrize(("sent", "told"), [("Basic eA==", "no Bearer token"), ("Bearer", "no Bearer token")])
def test_another_scheme_is_told_from_an_unknown_token(sent: str, told: str) -> None:
    """And what was sent is not repeated."""
    with guarded(Scope.SCORE) as http:
        detail = http.post(SCORE, json=RECORD, headers={"Authorization": sent}).json()["detail"]
    assert told in detail
    assert "eA==" not in detail


def basic(text: str) -> dict[str, str]:
    """The header by which a browser sends a user's name and a password."""
    return {"Authorization": f"Basic {b64encode(text.encode()).decode()}"}


def test_a_browser_comes_in_with_a_token_for_its_password() -> None:
    """Whatever the user's name. It is asked for a password where it wants a page, and nobody else is."""
    html = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    with guarded(Scope.SCORE, Scope.ADMIN) as http:
        for path in ("/", "/docs", "/openapi.json", "/v1/models/shop", "/models/shop", "/nowhere"):
            asked = http.get(path, headers=html)
            assert asked.status_code == 401
            assert asked.headers["www-authenticate"].startswith('Basic realm="kilter')
            assert http.get(path).headers["www-authenticate"].startswith("Bearer ")
            for user in ("", "anybody", "Jürgen"):
                answer = http.get(path, headers=html | basic(f"{user}:{SECRETS[Scope.SCORE]}"))
                assert answer.status_code == (404 if path == "/nowhere" else 200)
            for wrong in (basic(SECRETS[Scope.SCORE]), basic("user:wrong"), {"Authorization": "Basic é"}):
                sent = {name: value.encode("latin-1") for name, value in (html | wrong).items()}
                assert http.get(path, headers=sent).status_code == 401
            assert http.get(path, headers=basic(f":{SECRETS[Scope.ADMIN]}")).status_code == 403


def test_what_a_browser_sends_by_itself_changes_nothing() -> None:
    """Any page can have it send its password here: it does for scoring from this service's own pages alone."""
    secret = basic(f":{SECRETS[Scope.SCORE]}")
    with guarded(Scope.SCORE, Scope.ADMIN) as http:
        assert http.post(SCORE, json=RECORD, headers=secret).status_code == 401
        for site, status in (("same-origin", 200), ("same-site", 401), ("cross-site", 401), ("none", 401)):
            sent = secret | {"Sec-Fetch-Site": site}
            assert http.post(SCORE, json=RECORD, headers=sent).status_code == status
            admin = basic(f":{SECRETS[Scope.ADMIN]}") | {"Sec-Fetch-Site": site}
            assert http.post(LOAD, headers=admin).status_code == 401
            assert http.get("/v1/models/shop/shadow", headers=admin).status_code == 401


@pytest.mark.parametrize("scope", [Scope.SCORE, Scope.METRICS, Scope.ADMIN])
def test_the_remedy_of_a_refusal_works(scope: Scope, tmp_path: Path) -> None:
    """The command that it names makes a token that is let in."""
    path = {Scope.SCORE: "/v1/models", Scope.METRICS: "/metrics", Scope.ADMIN: "/v1/models/shop/shadow"}[scope]
    others = Guard(Keyring([token(other) for other in Scope if other is not scope or scope is Scope.ADMIN]))
    with Client(create_app(Settings(), Registry(metrics := Metrics(), [detector()]), metrics, guard=others)) as http:
        detail = http.get(path).json()["detail"]
    match = re.search(r"`kilter (token [^`]*)`", detail)
    assert match
    made = CliRunner().invoke(token_command, match[1].replace("NAME", "new").split()[1:])
    assert made.exit_code == 0
    (tmp_path / "tokens").write_text(made.stdout)
    secret = re.search(r"kilter_[\w-]+", made.stderr)
    assert secret
    guard_of(tmp_path / "tokens").check(scope_of(path, f"Bearer {secret[0]}"), scope)


def test_the_protocol_has_errors_of_its_own() -> None:
    """On /v2 a refusal is an object with `error`."""
    with guarded(Scope.SCORE) as http:
        answer = http.post("/v2/models/shop/infer", json={})
    assert (answer.status_code, answer.json().keys()) == (401, {"error"})


def test_a_scope_can_be_opened_to_anyone() -> None:
    """A known token is named in the log nevertheless, and an unknown one is a mistake worth telling."""
    with guarded(Scope.ADMIN, anyone=frozenset({Scope.SCORE})) as http, kept() as lines:
        assert http.post(SCORE, json=RECORD).status_code == 200
        assert http.post(SCORE, json=RECORD, **bearer(Scope.ADMIN)).status_code == 200
        assert http.post(SCORE, json=RECORD, **bearer(Scope.SCORE)).status_code == 401
        assert http.get("/metrics").status_code == 401
    assert [json.loads(text).get("token") for text in lines][:2] == [None, "the-admin"]


@given(st.one_of(st.text(st.characters(codec="latin-1"), max_size=80), st.builds("Bearer {}".format, st.text("abc_ "))))
def test_no_other_header_opens_anything(given: str) -> None:
    """Whatever it holds, and in whatever case the scheme stands, it is the token or a 401."""
    assert _status(SCORE, given) == 401
    assert _status(SCORE, f"bEARER  {SECRETS[Scope.SCORE]} ") == 200


def test_an_administrator_is_known_by_name() -> None:
    """A route of the administration learns who asks, and is closed to whom the guard let in for something else."""
    guard = Guard(Keyring([token(Scope.ADMIN), token(Scope.SCORE)]))
    asked = scope_of(LOAD, f"Bearer {SECRETS[Scope.ADMIN]}")
    guard.check(asked, Scope.ADMIN)
    assert administrator(asked) == "the-admin"
    assert notes_of(asked).fields() == {"token": "the-admin"}
    for other, scope in (
        (scope_of(SCORE, f"Bearer {SECRETS[Scope.SCORE]}"), Scope.SCORE),
        (scope_of("/healthz"), None),
    ):
        guard.check(other, scope)
        with pytest.raises(RequestError) as refused:
            administrator(other)
        assert refused.value.kind.status == 404


def test_notes_name_the_token_beside_the_model() -> None:
    """For the log line of a request that judged records."""
    assert Notes(token="shop").fields() == {"token": "shop"}  # noqa: S106  # a name
    assert Notes(model="m", version=1, token="shop").fields()["token"] == "shop"  # noqa: S105, S106


def test_the_metrics_can_have_a_port_of_their_own() -> None:
    """Nothing else is there, and they are nowhere else."""
    metrics = Metrics()
    app = create_app(Settings(metrics_port=9000), Registry(metrics, [detector()]), metrics)
    for port, path, status in [
        (8000, "/readyz", 200),
        (8000, "/metrics", 404),
        (9000, "/metrics", 200),
        (9000, "/readyz", 404),
        (9000, "/v1/models", 404),
    ]:
        with Client(app) as http:
            assert http.get(f"http://kilter.test:{port}{path}").status_code == status
    with Client(app) as http:
        assert "/metrics" not in http.get("/openapi.json").json()["paths"]
        assert 'href="metrics"' not in http.get("/").text


def test_a_changed_file_is_taken_up_and_a_broken_one_is_not(tmp_path: Path) -> None:
    """Until it is right again the tokens from before hold, and an error is logged."""
    path = tmp_path / "tokens"
    path.write_text(tokens_file_line(Scope.SCORE))
    guard = guard_of(path)
    with kept() as lines:
        guard.refresh()
        assert lines == []
        for content in ("nonsense", ""):
            _replace(path, content)
            guard.refresh()
            assert guard.tokens.names == ["the-score"]
        path.unlink()
        guard.refresh()
        assert guard.tokens.names == ["the-score"]
        _replace(path, tokens_file_line(Scope.ADMIN))
        guard.refresh()
        guard.refresh()
    assert guard.tokens.names == ["the-admin"]
    assert [json.loads(text)["level"] for text in lines] == ["error", "error", "error", "info"]
    assert "line 1" in json.loads(lines[0])["why"]


def _replace(path: Path, content: str) -> None:
    """Put another file in a file's place, as a mounted Secret is changed."""
    other = path.with_suffix(".new")
    other.write_text(content)
    os.replace(other, path)  # noqa: PTH105  # Path.replace is what it calls


def test_the_service_watches_the_file(tmp_path: Path) -> None:
    """While it runs; and it ends when the service does."""
    path = tmp_path / "tokens"
    path.write_text(tokens_file_line(Scope.SCORE))
    guard = guard_of(path)
    app = create_app(Settings(), Registry(Metrics(), [detector()]), guard=guard)

    async def live() -> None:
        async with app.app.router.lifespan_context(app.app):
            _replace(path, tokens_file_line(Scope.METRICS))
            while guard.tokens.names != ["the-metrics"]:
                await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(live(), 30))


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """By its name, with the setting."""
    with pytest.raises(KilterError, match=r"absent cannot be read \(No such file or directory\): set KILTER_TOKENS"):
        guard_of(tmp_path / "absent")


@given(st.text(st.characters(codec="latin-1", exclude_categories=["C", "Z"]), min_size=1).map("«{}»".format))
def test_no_line_holds_a_token(secret: str) -> None:
    """Neither a known one nor one that is refused."""
    with guarded(Scope.SCORE) as http, kept(logging.DEBUG) as lines:
        for given in (secret, SECRETS[Scope.SCORE]):
            headers = [(b"authorization", f"Bearer {given}".encode("latin-1"))]
            http.post(SCORE, json=RECORD, headers=headers)
            http.get("/metrics", headers=headers)
    text = "\n".join(lines)
    assert len(lines) == 4
    assert secret not in text
    assert json.dumps(secret, ensure_ascii=False)[1:-1] not in text
    assert SECRETS[Scope.SCORE] not in text
