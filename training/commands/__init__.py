"""The commands of `kilter` that come with the extra `train`, one module each."""
