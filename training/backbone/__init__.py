"""A pretrained network that the user has: read from an ONNX file, built into a score, and joined to the programs."""
