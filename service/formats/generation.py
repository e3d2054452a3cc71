"""Synthetic records in files: in the schema of the originals, or as PNG files in a folder."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from kilter.service.detector import Detector, KilterError
from kilter.service.detector.columns.base import list_names
from kilter.service.detector.generation import Prior, generate
from kilter.service.detector.inputs import Table, join, take
from kilter.service.detector.manifest import counted
from kilter.service.detector.schema import Schema
from kilter.service.formats.codes import SINKS, FileTally, Transcript, messages_of, read_records
from kilter.service.formats.opening import open_source
from kilter.service.formats.source import NO_HINTS, Hints

PIECE = 65_536  # records that are made before they are written; fewer pictures


def generate_file(
    detector: Detector,
    out: str | Path,
    count: int,
    *,
    near: str | Path | None = None,
    where: Mapping[str, Any] | None = None,
    prior: Prior = "learned",
    seed: int | None = None,
    force: bool = False,
    hints: Hints = NO_HINTS,
    stdout: BinaryIO | None = None,
    each: Callable[[Table], None] = lambda part: None,
) -> Transcript:
    """Write so many synthetic records, whole or not at all; see `detector.generation.generate`.

    `near` is a file of records; those that cannot be read are passed over, and said. `each` is called with each part
    of the records. Raises KilterError.
    """
    around, notes = (None, ()) if near is None else read_all_records(detector, near, hints)
    rng, tally, made = np.random.default_rng(seed), FileTally(), 0
    piece = max(1, PIECE // detector.modality.weight)
    with SINKS[detector.modality.name](detector, out, "-" if near is None else near, force, stdout) as sink:
        while made < count:
            size = min(piece, count - made)
            part = generate(detector.latent, detector.generator, size, rng, near=around, where=where, prior=prior)
            sink.write(part, np.ones(size, bool), None)
            each(part)
            made += size
            tally.add(size, ())
    return tally.transcript(notes)


def read_all_records(detector: Detector, path: str | Path, hints: Hints = NO_HINTS) -> tuple[Table, tuple[str, ...]]:
    """The records of a file that can be read, and notes. Raises KilterError if there are none."""
    tables, errors = [], []
    with open_source(detector, path, None, hints) as reader:
        for batch, table, wrong, good in read_records(detector, reader):
            tables.append(take(table, good)._replace(problems=[]))
            errors += messages_of(batch, wrong)
        notes = tuple(reader.notes)
    if not any(table.rows for table in tables):
        raise KilterError(f"{path} has no record that can be read" + (f": {errors[0]}" if errors else ""))
    if errors:
        notes += (f"{path}: {counted(len(errors), 'record')} cannot be read, the first of them: {errors[0]}",)
    return join(tables), notes


def parse_conditions(schema: Schema, stated: Sequence[str]) -> dict[str, str]:
    """The columns and cells of conditions like `COLUMN=VALUE`. Raises KilterError if one is none."""
    conditions: dict[str, str] = {}
    for condition in stated:
        named = [name for name in schema.names if condition.startswith(f"{name}=")]
        if not named:
            raise KilterError(
                f"{condition!r} is no condition COLUMN=VALUE on a column of the model: it has "
                f"{list_names(schema.names, 10)}"
            )
        name = max(named, key=len)
        if name in conditions:
            raise KilterError(f"two conditions are on {name!r}: leave one out")
        conditions[name] = condition[len(name) + 1 :]
    return conditions
