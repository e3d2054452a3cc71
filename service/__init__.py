"""Kilter's scoring service, and the detector that it serves (`service.detector`)."""

import os

__version__ = "0.1.0"

# ONNX Runtime's builds report their use to its makers, unless this is set before they are imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
