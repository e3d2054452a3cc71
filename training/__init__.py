"""Kilter's offline pipeline: data, fit, calibrate, evaluate, package."""

if __name__ != "kilter.training":
    raise ImportError(f"this package is kilter.training, and is not to be imported as {__name__!r} a second time")

import tqdm  # noqa: F401  (the lightest of the extra `train`: without it an install has no training, and no `kilter train`)
