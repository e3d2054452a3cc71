"""From requests to verdicts: admission, batches, deadlines, answers."""
