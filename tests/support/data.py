"""Synthetic tables that look like a small plant's log."""

import csv
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

PRODUCTS = ("bolt", "nut", "washer")


def records(rng: np.random.Generator, rows: int) -> list[dict[str, Any]]:
    """Normal records with every kind of column; `pressure` follows `temperature`, and is missing now and then."""
    found = []
    for _ in range(rows):
        temperature = float(rng.normal(70, 3))
        pressure = None if rng.random() < 0.05 else round(2 * temperature + float(rng.normal(0, 0.5)), 4)
        moment = datetime(2024, 3, 1) + timedelta(minutes=int(rng.integers(60 * 24 * 21)))
        found.append(
            {
                "temperature": round(temperature, 4),
                "pressure": pressure,
                "count": int(rng.poisson(40)),
                "line": "A",
                "product": str(rng.choice(PRODUCTS, p=[0.6, 0.3, 0.1])),
                "guard": bool(rng.random() < 0.9),
                "at": moment.isoformat(),
            }
        )
    return found


def write_csv(path: Path, rng: np.random.Generator, rows: int) -> Path:
    """Write normal records to a CSV with an identifier in front."""
    with path.open("w", newline="") as file:
        table = [{"id": f"r-{i:05d}", **record} for i, record in enumerate(records(rng, rows))]
        writer = csv.DictWriter(file, list(table[0]))
        writer.writeheader()
        writer.writerows({k: str(v).lower() if isinstance(v, bool) else v for k, v in row.items()} for row in table)
    return path
