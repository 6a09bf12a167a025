"""Costs as the load or the data grows."""
