"""Fetched records as columns, in event-time order."""
