"""Records of a plant's pumps, and clients that send them: the demonstration's data and traffic. Standard library alone.

    python plant.py write 20000 > training.csv
    python plant.py send http://127.0.0.1:8000/v1/models/pumps/score --rate 50 --normal 30 --strange 120

Normal pumps draw more current the faster they run, and heat up by it. Strange ones do not: their values stay in their
ranges, and do not fit together.
"""

import argparse
import csv
import json
import random
import sys
import time
import urllib.error
import urllib.request
from typing import Any

FIELDS = ("speed", "current", "temperature", "vibration", "pump", "valve_open")
BATCH = 10
"""Records in a request."""


def record(rng: random.Random, strange: bool = False) -> dict[str, Any]:
    """A pump's readings; those of a strange one are of two different moments."""
    speed = rng.gauss(1450, 120)
    drawn = rng.gauss(1450, 120) if strange else speed
    current = drawn / 100 + rng.gauss(0, 0.15)
    return {
        "speed": round(speed, 1),
        "current": round(current, 3),
        "temperature": round(20 + 3 * current + rng.gauss(0, 0.8), 2),
        "vibration": round(rng.lognormvariate(0.3 if strange else 0, 0.2), 3),
        "pump": rng.choices(("north", "south", "spare"), (5, 4, 1))[0],
        "valve_open": rng.random() < 0.8,
    }


def write(rows: int, seed: int) -> None:
    """Write normal records to standard output, as CSV."""
    rng = random.Random(seed)  # noqa: S311
    writer = csv.DictWriter(sys.stdout, FIELDS)
    writer.writeheader()
    for _ in range(rows):
        row = record(rng)
        writer.writerow(row | {"valve_open": str(row["valve_open"]).lower()})


def send(url: str, rate: float, normal: float, strange: float, share: float) -> None:
    """Send records at a rate per second: normal ones for a time, then some strange among them, and so on for ever."""
    rng = random.Random()  # noqa: S311
    phase, ends = "strange", 0.0
    due = time.monotonic()
    while True:
        if time.monotonic() >= ends:
            phase = "normal" if phase == "strange" else "strange"
            ends = time.monotonic() + (normal if phase == "normal" else strange)
            say(f"{phase} traffic, {rate:g} records a second")
        part = share if phase == "strange" else 0.0
        try:
            post(url, [record(rng, rng.random() < part) for _ in range(BATCH)])
        except OSError as error:
            say(f"{url}: {error}")
            time.sleep(1)
        due = max(due + BATCH / rate, time.monotonic() - 1)
        time.sleep(max(0.0, due - time.monotonic()))


def post(url: str, records: list[dict[str, Any]]) -> None:
    """Ask for verdicts. Raises OSError when there are none."""
    body = json.dumps({"records": records}).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
        answer.read()


def say(message: str) -> None:
    """Write a line to standard error."""
    print(message, file=sys.stderr, flush=True)  # noqa: T201


def main() -> None:
    parser = argparse.ArgumentParser(description="Records of a plant's pumps.")
    commands = parser.add_subparsers(dest="command", required=True)
    writing = commands.add_parser("write", help="normal records as CSV")
    writing.add_argument("rows", type=int)
    writing.add_argument("--seed", type=int, default=0)
    sending = commands.add_parser("send", help="traffic for a score route")
    sending.add_argument("url")
    sending.add_argument("--rate", type=float, default=50, help="records a second")
    sending.add_argument("--normal", type=float, default=60, help="seconds of normal traffic at a time")
    sending.add_argument("--strange", type=float, default=240, help="seconds of traffic with strange records at a time")
    sending.add_argument("--share", type=float, default=0.2, help="share of strange records in it")
    given = parser.parse_args()
    if given.command == "write":
        write(given.rows, given.seed)
    else:
        send(given.url, given.rate, given.normal, given.strange, given.share)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
