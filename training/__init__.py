"""Kilter's offline pipeline: data, fit, calibrate, evaluate, package."""
