"""The commands of `kilter` that an install without training has, one module each."""
