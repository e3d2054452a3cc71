"""The training data: where it is, how it is typed, and which records of it are normal."""
