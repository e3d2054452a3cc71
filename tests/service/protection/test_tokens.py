"""The file of tokens: read strictly, refused with line and remedy."""

from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kilter.service.detector import KilterError
from kilter.service.protection.auth import OPEN, new_secret, read_tokens, token_line
from kilter.service.routing import Scope

SECRET = new_secret()


def written(folder: Path, *lines: str) -> Path:
    """A file of tokens."""
    path = folder / "tokens"
    path.write_text("\n".join(lines))
    return path


@given(st.lists(st.sampled_from(Scope), min_size=1), st.from_regex(r"[a-z0-9][a-z0-9._-]{0,62}", fullmatch=True))
def test_a_line_is_read_as_it_was_made(
    tmp_path_factory: pytest.TempPathFactory, scopes: list[Scope], name: str
) -> None:
    """Its token is found by the secret with name and scopes, and by no other; the secret is not in the file."""
    assume(name != "anyone")
    secret = new_secret()
    path = written(tmp_path_factory.mktemp("tokens"), token_line(name, scopes, secret))
    tokens = read_tokens(path)
    found = tokens.find(secret.encode())
    assert found is not None
    assert (found.name, found.scopes) == (name, frozenset(scopes))
    assert tokens.find(secret[:-1].encode()) is None
    assert tokens.find(sha256(secret.encode()).hexdigest().encode()) is None
    assert secret not in path.read_text()


def test_secrets_cannot_be_guessed() -> None:
    """They have 256 random bits, and are recognisable."""
    made = {new_secret() for _ in range(100)}
    assert len(made) == 100
    assert all(secret.startswith("kilter_") and len(secret) == 7 + 43 for secret in made)


def test_anyone_has_no_token() -> None:
    """The name is taken."""
    with pytest.raises(KilterError, match="choose another name"):
        token_line("anyone", [Scope.SCORE], SECRET)


def test_comments_scopes_for_anyone_and_two_tokens_of_a_name(tmp_path: Path) -> None:
    """A token is replaced by having both for a while."""
    other = new_secret()
    path = written(
        tmp_path,
        "# of the shop",
        "",
        "anyone metrics -",
        f"{token_line('shop', [Scope.SCORE], SECRET)}  # until June",
        token_line("shop", [Scope.SCORE, Scope.ADMIN], other),
    )
    tokens = read_tokens(path)
    assert (tokens.anyone, tokens.names, tokens.admin) == (frozenset({Scope.METRICS}), ["shop"], True)
    assert all(tokens.find(secret.encode()) for secret in (SECRET, other))


def test_without_a_file_nothing_but_the_administration_is_closed() -> None:
    """No token is known."""
    assert OPEN.anyone == {Scope.SCORE, Scope.METRICS}
    assert not OPEN.admin
    assert OPEN.find(b"") is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "holds no token: `kilter token NAME"),
        ("anyone score -", "holds no token"),
        ("shop score", "line 1: a name, scopes and a SHA-256 are expected"),
        (f"Shop score sha256:{'0' * 64}", "line 1: a token's name is lower-case .* not 'Shop'"),
        (f"\nshop read sha256:{'0' * 64}", "line 2: there is no scope 'read': there are score, admin, metrics"),
        ("shop score sha256:00", "line 1: the SHA-256 of shop is not"),
        ("shop score secret", "line 1: the SHA-256 of shop is not"),
        ("anyone admin -", "line 1: `anyone` has '-' for its SHA-256, and never the scope admin"),
        (f"a score sha256:{'0' * 64}\nb score sha256:{'0' * 64}", "line 2: b has the token of a"),
    ],
)
def test_a_broken_file_is_refused_with_its_line(tmp_path: Path, content: str, message: str) -> None:
    """What is wrong, and how to make it right; what stands in the place of a SHA-256 is not repeated."""
    with pytest.raises(KilterError, match=message) as refused:
        read_tokens(written(tmp_path, content))
    assert "secret" not in str(refused.value)


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    """By the file's name."""
    (tmp_path / "tokens").write_bytes(b"\xff\xfe")
    with pytest.raises(KilterError, match="tokens is not a text file"):
        read_tokens(tmp_path / "tokens")
