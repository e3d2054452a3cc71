"""Who may ask what: the file of tokens, the scope that a route needs, and the token that a request brings.

The file has a line for each token, with its name, its scopes and its SHA-256:

    # name     scopes         SHA-256 of the token
    shop       score          sha256:9f86d081884c7d65...
    operator   admin,score    sha256:60303ae22b998861...
    anyone     metrics        -

The line `anyone` opens scopes to requests without a token. A name may stand on two lines, for the time in which a token
is replaced by another. A token has 256 random bits, so that nobody can guess one from its SHA-256: a slow hash, which
makes up for weak passwords, would cost each request milliseconds and add nothing.

`Edge` asks the guard before a route sees the request, and the token's name then stands in the request's notes. What
calls a route of the administration asks for its `administrator` first, which raises unless the guard let one in: a
request that the guard took for another route's changes nothing.
"""

import asyncio
import hmac
import logging
import re
import secrets
from base64 import b64decode
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import anyio.to_thread
from starlette import types

from kilter.service.detector import KilterError
from kilter.service.problems import FORBIDDEN, NOT_FOUND, UNAUTHORIZED, RequestError, no_route
from kilter.service.request import headers_of, notes_of
from kilter.service.routing import Scope, path_of

log = logging.getLogger(__name__)
RELOAD_SECONDS = 1.0
ANYONE = "anyone"
_PREFIX = "sha256:"
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_REMEDY = "`kilter token NAME --scope SCOPE` makes such a line"
_REALM = 'Bearer realm="kilter"'
_BEARER, _BASIC = b"bearer ", b"basic "
_SAFE_METHODS = ("GET", "HEAD")
Stamp = tuple[int, int, int]


class Grant(NamedTuple):
    """A token without its secret: a name for the log, the SHA-256 of the secret, and what it may be used for."""

    name: str
    digest: bytes
    scopes: frozenset[Scope]


class Keyring:
    """The tokens that are accepted, and the scopes that need none."""

    def __init__(self, tokens: Sequence[Grant], anyone: frozenset[Scope] = frozenset()) -> None:
        self.anyone = anyone
        self.admin = any(Scope.ADMIN in token.scopes for token in tokens)
        """Whether there is a token for the administration."""
        self.names = sorted({token.name for token in tokens})
        self._by_digest = {token.digest: token for token in tokens}

    def find(self, secret: bytes) -> Grant | None:
        """The token with that secret. The time that it takes depends on digests, which tell nothing about secrets."""
        digest = sha256(secret).digest()
        token = self._by_digest.get(digest)
        return token if token is not None and hmac.compare_digest(token.digest, digest) else None


OPEN = Keyring((), frozenset({Scope.SCORE, Scope.METRICS}))
"""What holds without a file: scoring and metrics for everyone, and no administration."""


def new_secret() -> str:
    """A new secret of 256 random bits, recognisable by scanners for leaked secrets."""
    return f"kilter_{secrets.token_urlsafe(32)}"


def token_line(name: str, scopes: Sequence[Scope], secret: str) -> str:
    """A token's line in the file. Raises KilterError for a name that cannot be one."""
    _check_name(name, "")
    if name == ANYONE:
        raise KilterError("`anyone` stands for requests without a token: choose another name")
    return f"{name} {','.join(dict.fromkeys(scopes))} {_PREFIX}{sha256(secret.encode()).hexdigest()}"


def read_tokens(path: Path) -> Keyring:
    """The tokens of a file. Raises KilterError that names the line, and OSError."""
    tokens: dict[bytes, Grant] = {}
    anyone: frozenset[Scope] = frozenset()
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise KilterError(f"{path} is not a text file: {_REMEDY}") from None
    for number, content in enumerate(text.splitlines(), 1):
        fields = content.partition("#")[0].split()
        if not fields:
            continue
        place = f"{path}, line {number}: "
        if len(fields) != 3:
            raise KilterError(f"{place}a name, scopes and a SHA-256 are expected; {_REMEDY}")
        name, scopes, digest = fields
        _check_name(name, place)
        granted = _scopes(scopes, place)
        if name == ANYONE:
            if digest != "-" or Scope.ADMIN in granted:
                raise KilterError(f"{place}`anyone` has '-' for its SHA-256, and never the scope admin")
            anyone |= granted
            continue
        if not _DIGEST.fullmatch(digest):
            raise KilterError(f"{place}the SHA-256 of {name} is not 'sha256:' and 64 hexadecimal digits; {_REMEDY}")
        token = Grant(name, bytes.fromhex(digest.removeprefix(_PREFIX)), granted)
        if token.digest in tokens:
            raise KilterError(f"{place}{name} has the token of {tokens[token.digest].name}: make one for each")
        tokens[token.digest] = token
    if not tokens:
        raise KilterError(f"{path} holds no token: {_REMEDY}")
    return Keyring(list(tokens.values()), anyone)


def _check_name(name: str, place: str) -> None:
    if not _NAME.fullmatch(name):
        raise KilterError(
            f"{place}a token's name is lower-case letters, digits, '.', '_' and '-', at most 63 of them, "
            f"not {name[:63]!r}"
        )


def _scopes(text: str, place: str) -> frozenset[Scope]:
    names = text.split(",")
    wrong = [name for name in names if name not in [*Scope]]
    if wrong:
        raise KilterError(f"{place}there is no scope {wrong[0][:63]!r}: there are {', '.join(Scope)}")
    return frozenset(map(Scope, names))


class Guard:
    """Lets requests pass that bring a token of the scope that their path needs; reads the file again as it changes."""

    def __init__(self, tokens: Keyring = OPEN, path: Path | None = None, metrics_port: int | None = None) -> None:
        self.tokens = tokens
        self._path = path
        self._metrics_port = metrics_port
        """The port of the metrics and nothing else; None if they are at the port of everything."""
        self._stamp = _stamp(path)

    @property
    def closed(self) -> bool:
        """Whether tokens are asked for at all."""
        return bool(self.tokens.names)

    @property
    def admin(self) -> bool:
        """Whether there is a token for the administration."""
        return self.tokens.admin

    def check(self, scope: types.Scope, wanted: Scope | None) -> None:
        """Raise RequestError unless the request may pass, which needs a token of the scope `wanted`, or none.

        Notes the name of its token if it has one.
        """
        if self._metrics_port is not None and (wanted is Scope.METRICS) != (scope["server"][1] == self._metrics_port):
            raise no_route(scope)
        if wanted is None:
            return
        tokens = self.tokens
        if wanted is Scope.ADMIN and not tokens.admin:
            raise _no_administration()
        anyone = wanted in tokens.anyone
        if anyone and not tokens.names:
            return
        given = headers_of(scope).get(b"authorization", b"").strip()
        if anyone and not given:
            return
        secret = given[7:].strip() if given[:7].lower() == _BEARER else _password(scope, wanted, given)
        token = None if secret is None else tokens.find(secret)
        if token is None:
            raise _unauthorized(scope, wanted, given)
        notes = notes_of(scope)
        notes.token = token.name
        if wanted in token.scopes:
            notes.admin = wanted is Scope.ADMIN
        elif not anyone:
            raise RequestError(
                FORBIDDEN,
                f"the token {token.name} lacks the scope {wanted}, which {path_of(scope)[:200]} needs: "
                f"{_maker(wanted)} makes one that has it",
                headers={"WWW-Authenticate": f'{_REALM}, error="insufficient_scope", scope="{wanted}"'},
            )

    async def watch(self) -> None:
        """Read the file again each time that it changes, until cancelled; a broken one changes nothing."""
        while self._path is not None:
            await asyncio.sleep(RELOAD_SECONDS)
            await anyio.to_thread.run_sync(self.refresh)

    def refresh(self) -> None:
        """Read the file again if it has changed."""
        stamp = _stamp(self._path)
        if self._path is None or stamp == self._stamp:
            return
        self._stamp = stamp
        fields: dict[str, object] = {"file": str(self._path)}
        try:
            self.tokens = read_tokens(self._path)
        except (KilterError, OSError) as error:
            fields["why"] = str(error)
            log.error("tokens not reloaded: those from before hold", extra={"fields": fields})  # noqa: TRY400
        else:
            fields["tokens"] = self.tokens.names
            log.info("tokens reloaded", extra={"fields": fields})


def guard_of(path: Path | None, metrics_port: int | None = None) -> Guard:
    """The guard by a file of tokens, or the open one without a file. Raises KilterError that names what is wrong."""
    guard = Guard(path=path, metrics_port=metrics_port)
    try:
        if path is not None:
            guard.tokens = read_tokens(path)
    except OSError as error:
        raise KilterError(
            f"the tokens file {path} cannot be read ({error.strerror}): set KILTER_TOKENS_FILE to one that can, "
            "`kilter token NAME --scope SCOPE` makes its lines"
        ) from None
    return guard


def administrator(scope: types.Scope) -> str:
    """The name of the token by which an administrator was let in. Raises RequestError where none was."""
    notes = notes_of(scope)
    if not notes.admin or notes.token is None:
        raise no_route(scope)
    return notes.token


def _stamp(path: Path | None) -> Stamp | None:
    """What changes with a file, also when a link is replaced; None if there is no file."""
    try:
        status = path.stat() if path is not None else None
    except OSError:
        return None
    return (status.st_ino, status.st_mtime_ns, status.st_size) if status is not None else None


def _no_administration() -> RequestError:
    """The error for its routes where there is no token for them, and so no administration."""
    return RequestError(
        NOT_FOUND,
        "the administration is there only where a token has the scope admin: add the line of "
        f"{_maker(Scope.ADMIN)} to a file that KILTER_TOKENS_FILE names",
    )


def _maker(scope: Scope) -> str:
    """The command that makes a token of a scope."""
    return f"`kilter token NAME --scope {scope}`"


def _password(scope: types.Scope, wanted: Scope, given: bytes) -> bytes | None:
    """The password of HTTP Basic, by which people come in with a browser, whatever the user's name; None without one.

    A browser sends it with whatever any page asks of this service, so that it opens no more than reading, and what
    this service's own pages send; never the administration.
    """
    own = headers_of(scope).get(b"sec-fetch-site") == b"same-origin"
    if wanted is Scope.ADMIN or given[:6].lower() != _BASIC or not (own or scope["method"] in _SAFE_METHODS):
        return None
    try:
        _, colon, password = b64decode(given[6:].strip(), validate=True).partition(b":")
    except ValueError:
        return None
    return password if colon else None


def _unauthorized(scope: types.Scope, wanted: Scope, given: bytes) -> RequestError:
    error = 'error="invalid_token", ' if given else ""
    text = f"a token with the scope {wanted} is needed"
    if given[: len(_BEARER)].lower() == _BEARER:
        text = "the token is none of this service's"
    elif given:
        text = "the header Authorization holds no Bearer token"
    text += f": send Authorization: Bearer TOKEN; {_maker(wanted)} makes one for the file of KILTER_TOKENS_FILE"
    # A browser that asks for a page then asks for a password; programs are told of tokens alone.
    page = wanted is Scope.SCORE and scope["method"] == "GET" and b"text/html" in headers_of(scope).get(b"accept", b"")
    basic = 'Basic realm="kilter: a token as the password", charset="UTF-8", ' if page else ""
    return RequestError(UNAUTHORIZED, text, headers={"WWW-Authenticate": f'{basic}{_REALM}, {error}scope="{wanted}"'})
