"""Measured claims, each a command that anyone can run: `python -m benchmarks.detection --help` and its siblings."""
