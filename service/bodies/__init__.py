"""What requests carry: JSON, NDJSON, CSV and Arrow, plain or compressed."""
