"""The models that serve: loading, watching, versions, shadows."""
