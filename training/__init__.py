"""Kilter's offline pipeline: data, fit, calibrate, evaluate, package."""

import tqdm  # noqa: F401  (the lightest of the extra `train`: without it an install has no training, and no `kilter train`)
