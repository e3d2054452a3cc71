"""The health check of the image."""

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from kilter.service.probe import is_ready


@pytest.mark.parametrize(("status", "expected"), [(200, True), (503, False), (404, False)])
def test_ready_is_what_readyz_answers_with_200(status: int, expected: bool) -> None:
    """Any other answer is not."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/readyz" else 500)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        assert is_ready("127.0.0.1", server.server_port) is expected
        thread.join()


def test_no_answer_is_not_ready() -> None:
    """A port that nobody listens on, and one that never answers."""
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        assert not is_ready("127.0.0.1", server.server_port, seconds=0.1)
    assert not is_ready("127.0.0.1", server.server_port, seconds=0.1)
