"""Kilter's scoring service, and the detector that it serves (`service.detector`)."""

__version__ = "0.1.0"
