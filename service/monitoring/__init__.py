"""What operators are told: metrics, drift, logs and traces."""
