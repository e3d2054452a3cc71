"""Who may ask what: the scope that a route needs, and the token that a request brings.

`Edge` asks the guard before a route sees the request, and the token's name then stands in the request's notes. What
calls a route of the administration asks for its `administrator` first, which raises unless the guard let one in: a
request that the guard took for another route's changes nothing.
"""

import asyncio
import logging
from pathlib import Path

import anyio.to_thread
from starlette import types

from kilter.service.detector import KilterError
from kilter.service.problems import FORBIDDEN, UNAUTHORIZED, RequestError, no_route
from kilter.service.protection.tokens import OPEN, Tokens, read_tokens
from kilter.service.request import headers_of, notes_of
from kilter.service.routing import Scope, path_of

log = logging.getLogger(__name__)
RELOAD_SECONDS = 1.0
_REALM = 'Bearer realm="kilter"'
Stamp = tuple[int, int, int]


class Guard:
    """Lets requests pass that bring a token of the scope that their path needs; reads the file again as it changes."""

    def __init__(self, tokens: Tokens = OPEN, path: Path | None = None, metrics_port: int | None = None) -> None:
        self.tokens = tokens
        self._path = path
        self._metrics_port = metrics_port
        """Where the metrics are, and nothing else is; None if they are where all is."""
        self._stamp = _stamp(path)

    @property
    def closed(self) -> bool:
        """Whether tokens are asked for at all."""
        return bool(self.tokens.names)

    @property
    def admin(self) -> bool:
        """Whether there is an administration: a token for it."""
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
            raise no_route(scope)
        anyone = wanted in tokens.anyone
        if anyone and not tokens.names:
            return
        given = headers_of(scope).get(b"authorization", b"").strip()
        if anyone and not given:
            return
        token = tokens.find(given[7:].strip()) if given[:7].lower() == b"bearer " else None
        if token is None:
            raise _unauthorized(wanted, bool(given))
        notes = notes_of(scope)
        notes.token = token.name
        if wanted in token.scopes:
            notes.admin = wanted is Scope.ADMIN
        elif not anyone:
            raise RequestError(
                FORBIDDEN,
                f"the token {token.name} lacks the scope {wanted}, which {path_of(scope)[:200]} needs",
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
        place = {"file": str(self._path)}
        try:
            self.tokens = read_tokens(self._path)
        except (KilterError, OSError) as error:
            why = {**place, "why": str(error)}
            log.error("tokens not reloaded: those from before hold", extra={"fields": why})  # noqa: TRY400
        else:
            log.info("tokens reloaded", extra={"fields": {**place, "tokens": self.tokens.names}})


def guard_of(path: Path | None, metrics_port: int | None = None) -> Guard:
    """The guard by a file of tokens, or the open one without a file. Raises KilterError that names what is wrong."""
    guard = Guard(path=path, metrics_port=metrics_port)
    if path is None:
        return guard
    try:
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
    """What changes with a file, through a link that is put in place of another as well."""
    try:
        status = path.stat() if path is not None else None
    except OSError:
        return None
    return (status.st_ino, status.st_mtime_ns, status.st_size) if status is not None else None


def _unauthorized(wanted: Scope, given: bool) -> RequestError:
    if given:
        text = "the token is none of this service's: send one as Authorization: Bearer TOKEN"
        return RequestError(
            UNAUTHORIZED, text, headers={"WWW-Authenticate": f'{_REALM}, error="invalid_token", scope="{wanted}"'}
        )
    text = f"a token with the scope {wanted} is needed: send Authorization: Bearer TOKEN"
    return RequestError(UNAUTHORIZED, text, headers={"WWW-Authenticate": f'{_REALM}, scope="{wanted}"'})
