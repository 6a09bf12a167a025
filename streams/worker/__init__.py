"""`mediana worker`, put together."""
