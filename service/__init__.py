"""Kilter's scoring service, and the detector that it serves (`detector`)."""

if __name__ != "kilter.service":
    raise ImportError(f"this package is kilter.service, and is not to be imported as {__name__!r} a second time")
