"""Headers that keep browsers and caches from mistakes."""

import re
from base64 import b64encode
from hashlib import sha256

import pytest

from tests.support.serving import RECORD, client


def test_every_answer_is_kept_by_nobody_and_guessed_at_by_nobody() -> None:
    """Verdicts, refusals and pages alike; that only TLS will do is told only under TLS."""
    with client() as http:
        for answer in (
            http.post("/v1/models/shop/score", json=RECORD),
            http.post("/v1/models/shop/score", json={}),
            http.get("/nowhere"),
            http.get("/metrics"),
            http.get("/docs"),
        ):
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["cache-control"] == "no-store"
            assert "strict-transport-security" not in answer.headers
        secure = http.get("https://kilter.test/healthz")
    assert secure.headers["strict-transport-security"] == "max-age=31536000"


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_pages_run_their_own_script_and_style_alone(path: str) -> None:
    """By their digests; they are framed by nobody, and the page has no other."""
    with client() as http:
        page = http.get(path)
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    for tag in ("style", "script"):
        for content in re.findall(f"<{tag}>(.*?)</{tag}>", page.text, re.S):
            assert f"{tag}-src 'sha256-{b64encode(sha256(content.encode()).digest()).decode()}'" in policy
    assert not re.search(r"\sstyle=|\son\w+=|<script [^>]|javascript:", page.text)
