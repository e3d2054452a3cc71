"""From typed rows to a fitted, exported and calibrated model in memory."""
