"""Thresholds, and how good a model is: calibration, evaluation, comparison, and calibrating anew."""
