"""Kilter's scoring service, and the detector that it serves (`detector`)."""
