"""Verdicts on a folder of Parquet, by Spark: `python score_in_spark.py MODEL INPUT OUTPUT`.

The model is a version's folder that every executor sees at the same path, or what `SparkContext.addFile` brings.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import BooleanType, DoubleType, StringType, StructField, StructType

import kilter


def with_verdicts_in_spark(records: DataFrame, model: Path) -> DataFrame:
    """A frame of Spark with the columns of `kilter score` appended."""

    def judge(frames: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        return (kilter.score_frame(model, frame) for frame in frames)

    kinds = {
        "kilter_score": DoubleType(),
        "kilter_p_value": DoubleType(),
        "kilter_anomaly": BooleanType(),
        "kilter_reasons": StringType(),
        "kilter_error": StringType(),
    }
    appended = [StructField(name, kind) for name, kind in kinds.items()]
    return records.mapInPandas(judge, StructType([*records.schema.fields, *appended]))


if __name__ == "__main__":
    model, source, out = map(Path, sys.argv[1:])
    spark = SparkSession.builder.appName("kilter").getOrCreate()
    records = spark.read.parquet(str(source.absolute()))
    with_verdicts_in_spark(records, model.absolute()).write.parquet(str(out.absolute()))
    spark.stop()
