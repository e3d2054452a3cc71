"""What is told of a training run: the report, the model card, and their words and figures."""
