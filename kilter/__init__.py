"""Kilter: calibrated verdicts on records and pictures, by a variational autoencoder of what is normal."""

import os

__version__ = "0.1.0"

# ONNX Runtime's builds report their use to its makers, unless this is set before they are imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
