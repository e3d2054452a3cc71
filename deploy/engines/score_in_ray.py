"""Verdicts on a folder of Parquet, by Ray Data: `python score_in_ray.py MODEL INPUT OUTPUT`.

The model is a version's folder that every node sees at the same path.
"""

import sys
from functools import partial
from pathlib import Path

import ray

import kilter


def with_verdicts_in_ray(records: "ray.data.Dataset", model: Path) -> "ray.data.Dataset":
    """A data set of Ray with the columns of `kilter score` appended."""
    return records.map_batches(partial(kilter.score_frame, model), batch_format="pyarrow", batch_size=8192)


if __name__ == "__main__":
    model, source, out = map(Path, sys.argv[1:])
    records = ray.data.read_parquet(str(source.absolute()))
    with_verdicts_in_ray(records, model.absolute()).write_parquet(str(out.absolute()))
    ray.shutdown()
