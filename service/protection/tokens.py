"""The file of tokens: a line for each, with its name, its scopes and its SHA-256.

    # name     scopes         SHA-256 of the token
    shop       score          sha256:9f86d081884c7d65...
    operator   admin,score    sha256:60303ae22b998861...
    anyone     metrics        -

The line `anyone` opens scopes to requests without a token. A name may stand on two lines, for the time in which a token
is replaced by another. A token has 256 random bits, so that nobody can guess one from its SHA-256: a slow hash, which
makes up for weak passwords, would cost each request milliseconds and add nothing.
"""

import hmac
import re
import secrets
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from kilter.service.detector import KilterError
from kilter.service.routing import Scope

ANYONE = "anyone"
_PREFIX = "sha256:"
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_REMEDY = "`kilter token NAME --scope SCOPE` makes such a line"


class Token(NamedTuple):
    """A token without its secret: a name for the log, the SHA-256 of the secret, and what it may be used for."""

    name: str
    digest: bytes
    scopes: frozenset[Scope]


class Tokens:
    """The tokens that are accepted, and the scopes that need none."""

    def __init__(self, tokens: Sequence[Token], anyone: frozenset[Scope] = frozenset()) -> None:
        self.anyone = anyone
        self.admin = any(Scope.ADMIN in token.scopes for token in tokens)
        """Whether there is a token for the administration."""
        self.names = sorted({token.name for token in tokens})
        self._by_digest = {token.digest: token for token in tokens}

    def find(self, secret: bytes) -> Token | None:
        """The token with that secret; what its time tells is about digests, which tell nothing about secrets."""
        digest = sha256(secret).digest()
        token = self._by_digest.get(digest)
        return token if token is not None and hmac.compare_digest(token.digest, digest) else None


OPEN = Tokens((), frozenset({Scope.SCORE, Scope.METRICS}))
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


def read_tokens(path: Path) -> Tokens:
    """The tokens of a file. Raises KilterError that names the line, and OSError."""
    tokens: dict[bytes, Token] = {}
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
        token = Token(name, bytes.fromhex(digest.removeprefix(_PREFIX)), granted)
        if token.digest in tokens:
            raise KilterError(f"{place}{name} has the token of {tokens[token.digest].name}: make one for each")
        tokens[token.digest] = token
    if not tokens:
        raise KilterError(f"{path} holds no token: {_REMEDY}")
    return Tokens(list(tokens.values()), anyone)


def _check_name(name: str, place: str) -> None:
    if not _NAME.fullmatch(name):
        raise KilterError(
            f"{place}a token's name is lower-case letters, digits, '.', '_' and '-', at most 63 of them, "
            f"not {name[:63]!r}"
        )


def _scopes(text: str, place: str) -> frozenset[Scope]:
    known = {str(scope): scope for scope in Scope}
    wrong = [name for name in text.split(",") if name not in known]
    if wrong:
        raise KilterError(f"{place}there is no scope {wrong[0][:63]!r}: there are {', '.join(known)}")
    return frozenset(known[name] for name in text.split(","))
