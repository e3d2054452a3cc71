"""Pictures to train on: which files and arrays hold them, what they are brought to, and their decoding."""
