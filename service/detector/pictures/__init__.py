"""Pictures: what a file of one says of itself, its decoding, and what a model sees, explains and watches of it."""
