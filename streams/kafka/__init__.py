"""Kafka clients, topics, offsets and dead letters."""
