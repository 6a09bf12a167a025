"""A batch of records to new states and counters, by the rules in `aggregates`."""
