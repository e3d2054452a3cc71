"""The Open Inference Protocol, version 2, over REST, with the binary tensor extension: what `/v2` answers."""
