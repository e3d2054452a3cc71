"""Servers that answer with the same verdicts, each in the way of its framework; `benchmarks.serving` starts them."""

NAME = "bench"
"""What the model is called."""
