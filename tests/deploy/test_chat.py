"""What becomes of Alertmanager's webhook: a line in a log, and a message in a chat."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import pytest

CHAT = str(Path(__file__).parents[2] / "deploy" / "demo" / "chat.py")
NOTIFICATION = {
    "status": "firing",
    "alerts": [
        {
            "status": "firing",
            "labels": {"alertname": "KilterAnomalyShareHigh", "severity": "critical", "model": "pumps"},
            "annotations": {"summary": "Too many", "description": "20 %", "runbook_url": "https://x/runbook"},
        },
        {"status": "resolved", "labels": {"alertname": "KilterDown"}, "annotations": {}},
    ],
}
TEXT = "[critical] KilterAnomalyShareHigh | Too many | 20 % | https://x/runbook\n[resolved] KilterDown"


@pytest.mark.parametrize(("chat_status", "answered"), [(200, 200), (500, 502)])
def test_alerts_reach_the_chat(chat_status: int, answered: int) -> None:
    """Each is a line of one message; where the chat takes it not, Alertmanager learns of it and tries again."""
    told: list[str] = []

    class Chat(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["text"])
            self.send_response(chat_status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with HTTPServer(("127.0.0.1", 0), Chat) as chat:
        thread = threading.Thread(target=chat.serve_forever)
        thread.start()
        environment = os.environ | {"CHAT_WEBHOOK_URL": f"http://127.0.0.1:{chat.server_port}/"}
        command = [sys.executable, CHAT, str(port)]
        with subprocess.Popen(
            command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as process:
            try:
                assert notified(port) == answered
            finally:
                process.terminate()
            written = process.stdout.read() if process.stdout else ""
        chat.shutdown()
        thread.join()
    assert told == [TEXT]
    assert written == TEXT + "\n"


def notified(port: int) -> int:
    """The status that Alertmanager gets, once something listens."""
    for _ in range(200):
        try:
            return httpx.post(f"http://127.0.0.1:{port}/channel", json=NOTIFICATION).status_code
        except httpx.ConnectError:
            time.sleep(0.05)
    raise AssertionError("it does not listen")
