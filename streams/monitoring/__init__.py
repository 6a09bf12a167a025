"""Prometheus metrics, their server, and health probes."""
