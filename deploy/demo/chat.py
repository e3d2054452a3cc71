"""Takes Alertmanager's webhooks, writes each alert as a line, and passes it on to a chat. Standard library alone.

    CHAT_WEBHOOK_URL=https://hooks.slack.com/services/... python chat.py 9000

The chat's incoming webhook takes {"text": "..."}, as those of Slack, Mattermost, Rocket.Chat and Google Chat do.
"""

import json
import os
import sys
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SECONDS = 10


def lines(notification: dict[str, Any]) -> Iterator[str]:
    """A line for each alert of a notification: its state, severity, name, what it says, and where to read on."""
    for alert in notification["alerts"]:
        labels, told = alert["labels"], alert["annotations"]
        state = "resolved" if alert["status"] == "resolved" else labels.get("severity", "firing")
        parts = [f"[{state}] {labels['alertname']}", told.get("summary", ""), told.get("description", "")]
        yield " | ".join(part for part in (*parts, told.get("runbook_url", "")) if part)


def tell(chat: str, text: str) -> None:
    """Post a text to a chat's incoming webhook. Raises OSError."""
    body = json.dumps({"text": text}).encode()
    request = urllib.request.Request(chat, body, {"Content-Type": "application/json"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=SECONDS) as answer:  # noqa: S310
        answer.read()


def receiver(chat: str | None) -> type[BaseHTTPRequestHandler]:
    """What answers Alertmanager: 200 once the chat has it, else 502, whereupon Alertmanager tries again."""

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            text = "\n".join(lines(json.loads(body)))
            print(text, flush=True)  # noqa: T201
            status = 200
            if chat:
                try:
                    tell(chat, text)
                except OSError as error:
                    print(f"the chat: {error}", file=sys.stderr, flush=True)  # noqa: T201
                    status = 502
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    return Receiver


if __name__ == "__main__":
    address = (os.environ.get("CHAT_HOST") or "127.0.0.1", int(sys.argv[1]))
    try:
        ThreadingHTTPServer(address, receiver(os.environ.get("CHAT_WEBHOOK_URL"))).serve_forever()
    except KeyboardInterrupt:
        sys.exit(130)
