"""How long `kilter score` takes to read a plain CSV file, and to find out what an odd one is.

`python -m benchmarks.reading_files [--rows 300000] [--columns 10]` reads each file three times, and prints the median
of the seconds from opening it to its last typed batch, and of those until its header is known.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

from kilter.service.detector import Schema
from kilter.service.detector.columns import NumericColumn
from kilter.service.formats.reading import open_table, read_batch

TIMES = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=300_000)
    parser.add_argument("--columns", type=int, default=10)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    names = [f"x{i}" for i in range(options.columns)]
    frame = pl.DataFrame(rng.normal(size=(options.rows, options.columns)).round(4), schema=names)
    columns = tuple(NumericColumn(name, center=0.0, scale=1.0, minimum=-9.0, maximum=9.0) for name in names)
    schema = Schema(columns, rows=options.rows)
    with tempfile.TemporaryDirectory() as folder:
        plain = frame.write_csv().encode()
        body = plain.partition(b"\n")[2]
        kinds = {
            "plain": plain,
            "semicolons": plain.replace(b",", b";"),
            "titles": b"A report\nof today\n\n" + plain,
            "trailing delimiters": plain.replace(b"\n", b",\n"),
            "no header": body,
            "UTF-16": plain.decode().encode("utf-16"),
        }
        for kind, content in kinds.items():
            path = Path(folder, "table.csv")
            path.write_bytes(content)
            found, read = zip(*(seconds(path, schema, kind) for _ in range(TIMES)), strict=True)
            print(f"{kind:20s} header {statistics.median(found):.4f} s, all {statistics.median(read):.3f} s")


def seconds(path: Path, schema: Schema, kind: str) -> tuple[float, float]:
    """Until the header of a file is known, and until all of it is read."""
    began = time.perf_counter()
    with open_table(path) as table:
        found = time.perf_counter() - began
        for batch in table.batches():
            if kind == "no header":
                batch = batch._replace(frame=batch.frame.rename(dict(zip(table.columns, schema.names, strict=True))))
            if not read_batch(schema, batch).rows:
                raise SystemExit(f"nothing was read of {kind}")
    return found, time.perf_counter() - began


if __name__ == "__main__":
    main()
