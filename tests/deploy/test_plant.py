"""The demonstration's records and traffic."""

import csv
import io
import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

PLANT = str(Path(__file__).parents[2] / "deploy" / "demo" / "plant.py")


def test_what_it_writes_is_a_table() -> None:
    """The rows that were asked for, the same for a seed."""
    first, second = (
        subprocess.run([sys.executable, PLANT, "write", "50"], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    )
    assert first == second
    rows = list(csv.DictReader(io.StringIO(first)))
    assert len(rows) == 50
    assert {row["valve_open"] for row in rows} == {"true", "false"}


def test_what_it_sends_are_normal_and_then_strange_records() -> None:
    """Of a normal record current follows speed, of a strange one it does not; both have the fields of the table."""
    received: list[dict[str, Any]] = []
    enough = threading.Event()

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            received.extend(body["records"])
            self.send_response(200)
            self.end_headers()
            if len(received) > 600:
                enough.set()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/"
        times = ("--rate", "2000", "--normal", "0.1", "--strange", "30", "--share", "0.5")
        sender = subprocess.Popen([sys.executable, PLANT, "send", url, *times], stderr=subprocess.PIPE, text=True)
        with sender:
            assert enough.wait(30)
            sender.terminate()
            said = sender.stderr.read() if sender.stderr else ""
        server.shutdown()
        thread.join()
    assert said.index("normal traffic") < said.index("strange traffic")
    off = [abs(record["current"] - record["speed"] / 100) for record in received]
    assert max(off[:20]) < 1
    assert max(off) > 1
    assert set(received[0]) == {"speed", "current", "temperature", "vibration", "pump", "valve_open"}
